// The Paho JavaScript client as the scenario wants one.

import { Inbox, within } from "./scenario.mjs";

function settle(start) {
    const done = new Promise((resolve, reject) => start({ onSuccess: resolve, onFailure: reject }));
    return within(done, "no answer");
}

export class Client {
    inbox = new Inbox();
    #delivered = [];

    constructor(ways, version, transport, clientId, { clean, will }) {
        this.options = { mqttVersion: version, cleanSession: clean, useSSL: transport === "wss", timeout: 30 };
        if (will) {
            this.options.willMessage = new Paho.Message(will.payload);
            this.options.willMessage.destinationName = will.topic;
            this.options.willMessage.qos = will.qos;
        }
        this.client = new Paho.Client("127.0.0.1", ways[transport], "/mqtt", clientId);
        this.client.onMessageArrived = ({ destinationName, payloadBytes, qos, retained }) =>
            this.inbox.put(destinationName, payloadBytes, qos, retained);
        this.client.onMessageDelivered = () => this.#delivered.shift()?.();
    }

    async connect() {
        await settle((callbacks) => this.client.connect({ ...this.options, ...callbacks }));
        // It keeps the flag to itself.
        return undefined;
    }

    async subscribe(topic, qos) {
        await settle((callbacks) => this.client.subscribe(topic, { qos, ...callbacks }));
    }

    async publish(topic, payload, qos, retain) {
        const delivered = new Promise((resolve) => this.#delivered.push(resolve));
        this.client.publish(topic, payload, qos, retain);
        await within(delivered, "not delivered");
    }

    disconnect() {
        this.client.disconnect();
    }
}
