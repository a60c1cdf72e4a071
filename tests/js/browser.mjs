// The Paho JavaScript client and MQTT.js in the matrix, in a Chromium without a window: serves it a page, and prints
// what the page tells.

import { spawn } from "node:child_process";
import { X509Certificate, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

// `profile` is a folder that Chromium may fill; whoever gave it removes it.
const [ways, packages, chromium, profile] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const paho = join(packages, "node_modules/paho-mqtt");
const mqttjs = join(packages, "node_modules/mqtt");
const version = (folder) => JSON.parse(readFileSync(join(folder, "package.json"))).version;
// Names, and the protocol versions that each speaks.
const clients = {
    paho: { name: `Chromium: Paho JavaScript ${version(paho)}`, versions: [3, 4] },
    mqttjs: { name: `Chromium: MQTT.js ${version(mqttjs)}`, versions: [3, 4, 5] },
};
const files = {
    "/": ["text/html", join(here, "browser.html")],
    "/doomed": ["text/html", join(here, "doomed.html")],
    "/clients.mjs": ["text/javascript", join(here, "clients.mjs")],
    "/paho.mjs": ["text/javascript", join(here, "paho.mjs")],
    "/mqttjs_client.mjs": ["text/javascript", join(here, "mqttjs_client.mjs")],
    "/scenario.mjs": ["text/javascript", join(here, "scenario.mjs")],
    "/mqtt.js": ["text/javascript", join(mqttjs, "dist/mqtt.min.js")],
    "/paho-mqtt.js": ["text/javascript", join(paho, "paho-mqtt-min.js")],
};

let browser;
let ending = false;

const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://page");
    if (request.method === "POST") {
        let body = "";
        for await (const chunk of request) body += chunk;
        response.end();
        if (pathname === "/say") console.log(body);
        else end();
    } else if (pathname === "/settings") {
        response.setHeader("Content-Type", "application/json");
        response.end(JSON.stringify({ clients, ways: JSON.parse(ways) }));
    } else if (files[pathname]) {
        const [type, file] = files[pathname];
        response.setHeader("Content-Type", type);
        response.end(readFileSync(file));
    } else {
        response.writeHead(404).end();
    }
});

function end() {
    ending = true;
    server.close();
    browser.kill("SIGTERM");
}

server.listen(0, "127.0.0.1", () => {
    // The one certificate that it takes without a CA: the listener's.
    const { publicKey } = new X509Certificate(readFileSync(JSON.parse(ways).certificate));
    const key = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
    const root = process.getuid() === 0 ? ["--no-sandbox"] : [];
    const flags = [
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        // Its end of the pipe tells it when this process is gone, however it went.
        "--remote-debugging-pipe",
        `--user-data-dir=${profile}`,
        `--ignore-certificate-errors-spki-list=${key}`,
        ...root,
        `http://127.0.0.1:${server.address().port}/`,
    ];
    browser = spawn(chromium, flags, { stdio: ["ignore", "inherit", "inherit", "pipe", "pipe"] });
    browser.once("error", (error) => {
        console.error(`${chromium}: ${error.message}`);
        process.exit(1);
    });
    browser.once("exit", (code, signal) => {
        if (!ending) console.error(`Chromium ended by itself: ${code ?? signal}`);
        process.exit(ending ? 0 : 1);
    });
});
