// MQTT.js as the scenario wants a client, in Node and in a browser: `mqtt` is the module, `url` where the listener is,
// `more` what the connection needs besides.

import { Inbox } from "./scenario.mjs";

export class Client {
    inbox = new Inbox();

    constructor(mqtt, url, version, clientId, { clean, will }, more) {
        const options = { protocolVersion: version, clientId, clean, reconnectPeriod: 0, connectTimeout: 30_000 };
        if (version === 3) options.protocolId = "MQIsdp";
        if (version === 5) options.properties = { sessionExpiryInterval: clean ? 0 : 3600 };
        if (will) options.will = { ...will, retain: false };
        this.client = mqtt.connect(url, { ...options, ...more, manualConnect: true });
        this.client.on("message", (topic, payload, { qos, retain }) => this.inbox.put(topic, payload, qos, retain));
    }

    connect() {
        return new Promise((resolve, reject) => {
            this.client.once("connect", (connack) => resolve(connack.sessionPresent));
            this.client.once("error", reject);
            this.client.once("close", () => reject(new Error("closed")));
            this.client.connect();
        });
    }

    async subscribe(topic, qos) {
        await this.client.subscribeAsync(topic, { qos });
    }

    async publish(topic, payload, qos, retain) {
        await this.client.publishAsync(topic, payload, { qos, retain });
    }

    async disconnect() {
        await this.client.endAsync();
    }

    drop() {
        this.client.stream.destroy();
    }
}
