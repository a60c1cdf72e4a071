// What each client does on each way into the broker, in Node and in a browser: it gets its own message back byte for
// byte, a retained message, a will, and what came while it was away.
//
// `make(version, transport, clientId, { clean, will })` gives a client whose methods wait until they are done:
//     connect() -> whether a session was there, or undefined if the client can't tell
//     subscribe(topic, qos), publish(topic, payload, qos, retain), disconnect()
//     drop()                                                          closes the socket and says nothing
// and that puts its messages into `inbox`.

// The longest that a message may take on a busy machine.
const PATIENCE_MS = 30_000;

// Every byte, of which most is no UTF-8; then more than a packet's length byte can say.
const PAYLOAD = Uint8Array.from({ length: 256 * 70 }, (_, at) => at % 256);

export class Inbox {
    #messages = [];
    #waiting = [];

    put(topic, payload, qos, retain) {
        const message = { topic, payload: Uint8Array.from(payload), qos, retain };
        const waiting = this.#waiting.shift();
        if (waiting) waiting(message);
        else this.#messages.push(message);
    }

    get() {
        if (this.#messages.length > 0) return this.#messages.shift();
        return within(new Promise((resolve) => this.#waiting.push(resolve)), "no message");
    }
}

export function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(what)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function bytes(text) {
    return new TextEncoder().encode(text);
}

async function expect(client, topic, payload, qos, retain) {
    const got = await client.inbox.get();
    const same = got.payload.length === payload.length && got.payload.every((byte, at) => byte === payload[at]);
    if (got.topic !== topic || !same || got.qos !== qos || Boolean(got.retain) !== retain) {
        throw new Error(`got ${got.topic}, ${got.payload.length} bytes, QoS ${got.qos}, retain ${got.retain}`);
    }
}

const CHECKS = {
    async echo({ main, root, qos }) {
        for (const payload of [PAYLOAD, bytes(""), bytes("\0")]) {
            await main.publish(`${root}/echo`, payload, qos, false);
            await expect(main, `${root}/echo`, payload, qos, false);
        }
    },

    async retained({ main, make, root, qos }) {
        const topic = `${root}/kept`;
        await main.publish(topic, bytes("kept"), qos, true);
        await expect(main, topic, bytes("kept"), qos, false);
        const late = make("late");
        await late.connect();
        await late.subscribe(topic, qos);
        await expect(late, topic, bytes("kept"), qos, true);
        await late.disconnect();
        await main.publish(topic, bytes(""), qos, true);
        await expect(main, topic, bytes(""), qos, false);
    },

    async will({ main, make, root, qos }) {
        const doomed = make("doomed", { will: { topic: `${root}/will`, payload: "gone", qos } });
        await doomed.connect();
        await doomed.drop();
        await expect(main, `${root}/will`, bytes("gone"), qos, false);
    },

    async session({ main, make, root, qos, version }) {
        const topic = `${root}/away`;
        const first = make("sleeper", { clean: false });
        if (await first.connect()) throw new Error("there is a session that nobody has made");
        await first.subscribe(topic, qos);
        await first.disconnect();
        await main.publish(topic, bytes("while away"), qos, false);
        await expect(main, topic, bytes("while away"), qos, false);
        const second = make("sleeper", { clean: false });
        // 3.1 has no such flag.
        if ((await second.connect()) === false && version !== 3) throw new Error("the session is gone");
        await expect(second, topic, bytes("while away"), qos, false);
        await second.disconnect();
    },
};

// Runs all cells at once; `say` gets a line for each check: CELL|client|version|transport|qos|check|ok, or what was
// wrong in the place of ok.
export async function run(name, versions, transports, make, say) {
    const cells = versions.flatMap((version) =>
        transports.flatMap((transport) => [0, 1, 2].map((qos) => [version, transport, qos])),
    );
    await Promise.all(cells.map((cell) => runCell(name, make, say, ...cell)));
}

async function runCell(name, make, say, version, transport, qos) {
    const root = `${name}/${version}/${transport}/${qos}`;
    const makeHere = (suffix, { clean = true, will } = {}) =>
        make(version, transport, `${root}/${suffix}`.replaceAll("/", "-"), { clean, will });
    const main = makeHere("main");
    let broken;
    try {
        await main.connect();
        await main.subscribe(`${root}/#`, qos);
    } catch (error) {
        broken = error;
    }
    for (const [check, verify] of Object.entries(CHECKS)) {
        if (check === "session" && qos === 0) continue;
        let result = "ok";
        try {
            if (broken) throw broken;
            await verify({ main, make: makeHere, root, qos, version });
        } catch (error) {
            result = String(error?.message || error?.errorMessage || error).replaceAll(/\s+/g, " ");
        }
        say(`CELL|${name}|${version}|${transport}|${qos}|${check}|${result}`);
    }
    if (!broken) await main.disconnect();
}
