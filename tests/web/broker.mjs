// A client of the LAN comes, is seen, is asked about, and is disconnected.

import { createRequire } from "node:module";
import { join } from "node:path";
import { run } from "./harness.mjs";

await run(async ({ page, settings, check, assert }) => {
    const require = createRequire(join(settings.packages, "node_modules/"));
    const mqtt = require("mqtt");
    await page.goto(settings.page);
    await page.getByLabel("Name").fill("anna");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("link", { name: "Broker" }).click();
    await page.getByText("No client is connected.").waitFor();
    await check("broker without clients");

    // It appears without a reload.
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${settings.lan}`, {
        clientId: "plc-7", protocolVersion: 5, clean: false, reconnectPeriod: 0,
        properties: { sessionExpiryInterval: 3600 },
    });
    await client.subscribeAsync("hall/+", { qos: 1 });
    await client.publishAsync("hall/light", "on", { retain: true, qos: 1 });
    const row = page.locator('[data-client="plc-7"]');
    await row.waitFor();
    await row.getByText("MQTT 5").waitFor();
    await row.getByText("TCP").waitFor();
    await row.getByText("127.0.0.1").waitFor();

    // Who gets a topic, by a form that needs no script.
    await page.getByLabel("Topic", { exact: true }).fill("hall/light");
    await page.getByRole("button", { name: "Show", exact: true }).click();
    await page.getByText("1 clients and 0 upstreams get what is published there.").waitFor();
    await page.getByLabel("Topic", { exact: true }).fill("hall/#");
    await page.getByRole("button", { name: "Show", exact: true }).click();
    await page.getByText("contains a wildcard").waitFor();
    assert.equal(await page.getByLabel("Topic", { exact: true }).getAttribute("aria-invalid"), "true");

    // What is retained.
    await page.getByLabel("Topics that begin with").fill("hall/");
    await page.getByRole("button", { name: "List" }).click();
    await page.getByText("hall/light").waitFor();
    await check("broker with a client");
    if (settings.screenshot) await page.screenshot({ path: `${settings.screenshot}-phone.png`, fullPage: true });

    // Disconnected after a question; its session stays.
    const gone = new Promise((resolve) => client.once("disconnect", resolve));
    await page.getByRole("button", { name: "Disconnect plc-7" }).click();
    await page.getByText("Disconnect plc-7? Its session stays").waitFor();
    await page.getByRole("button", { name: "Yes, do it" }).click();
    assert.equal((await gone).reasonCode, 0x98);
    await page.locator('[data-client="plc-7"]').getByText("away for").waitFor();
    assert.equal(await page.getByRole("button", { name: "Disconnect plc-7" }).count(), 0);
    client.end(true);

    await page.setViewportSize({ width: 1280, height: 900 });
    await page.getByRole("link", { name: "Deutsch" }).click();
    await page.getByText("abwesend seit").waitFor();
    await page.emulateMedia({ colorScheme: "dark" });
    if (settings.screenshot) await page.screenshot({ path: `${settings.screenshot}-desktop.png`, fullPage: true });
});
