// The clients of the browser: each by its name, as the scenario wants it.

import { Client as MqttJs } from "/mqttjs_client.mjs";
import { Client as Paho } from "/paho.mjs";

export function make(kind, ways, version, transport, clientId, wishes) {
    if (kind === "paho") return new Paho(ways, version, transport, clientId, wishes);
    const url = `${transport}://127.0.0.1:${ways[transport]}/mqtt`;
    return new MqttJs(mqtt, url, version, clientId, wishes, {});
}
