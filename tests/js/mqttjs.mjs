// MQTT.js in the matrix, in Node.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { Client } from "./mqttjs_client.mjs";
import { run } from "./scenario.mjs";

// The packages lie in the build folder, not beside this file.
const require = createRequire(`${process.argv[3]}/`);
const mqtt = require("mqtt");
const ways = JSON.parse(process.argv[2]);

const URLS = {
    tcp: `mqtt://127.0.0.1:${ways.tcp}`,
    tls: `mqtts://127.0.0.1:${ways.tls}`,
    ws: `ws://127.0.0.1:${ways.ws}/mqtt`,
    wss: `wss://127.0.0.1:${ways.wss}/mqtt`,
    unix: `mqtt+unix://${ways.unix}`,
};

function make(version, transport, clientId, wishes) {
    const more = transport === "tls" || transport === "wss" ? { ca: readFileSync(ways.ca) } : {};
    const client = new Client(mqtt, URLS[transport], version, clientId, wishes, more);
    const publish = client.publish.bind(client);
    client.publish = (topic, payload, qos, retain) => publish(topic, Buffer.from(payload), qos, retain);
    return client;
}

const { version } = require("mqtt/package.json");
await run(`MQTT.js ${version}`, [3, 4, 5], ["tcp", "tls", "ws", "wss", "unix"], make, console.log);
