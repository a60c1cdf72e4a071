// Topics appear as they are published, a thousand of them too; a message as text, JSON and bytes; one is published, one
// that is retained is deleted.

import { createRequire } from "node:module";
import { join } from "node:path";
import { run } from "./harness.mjs";

await run(async ({ page, settings, check, expected, assert }) => {
    const require = createRequire(join(settings.packages, "node_modules/"));
    const mqtt = require("mqtt");
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${settings.lan}`, { clientId: "plc", reconnectPeriod: 0 });
    await client.publishAsync("hall/state", '{"t":21.5,"ok":true}', { retain: true, qos: 1 });
    await client.subscribeAsync("door/+");
    const heard = [];
    client.on("message", (topic, payload) => heard.push(`${topic} ${payload}`));

    await page.goto(settings.page);
    await page.getByLabel("Name").fill("anna");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("link", { name: "Topics" }).click();

    // What is retained is there at once; what is published appears.
    await page.getByText("hall (1)").click();
    await page.getByRole("button", { name: "state" }).click();
    const payload = page.locator("[data-payload]");
    await page.getByRole("button", { name: "JSON" }).click();
    assert.equal(await payload.textContent(), '{\n  "t": 21.5,\n  "ok": true\n}');
    await page.getByRole("button", { name: "Bytes" }).click();
    assert.match(await payload.textContent(), /^0000 {2}7b 22 74/);
    await client.publishAsync("hall/state", "warm", { qos: 1 });
    await page.getByRole("button", { name: "Text" }).click();
    await page.waitForFunction(() => document.querySelector("[data-payload]").textContent === "warm");
    await check("topics with a message");
    if (settings.screenshot) await page.screenshot({ path: `${settings.screenshot}-topics-phone.png`, fullPage: true });

    // A thousand topics, ten times each: the page keeps up, and can be used meanwhile.
    const many = (async () => {
        for (let round = 0; round < 10; round++) {
            const all = [];
            for (let number = 0; number < 1000; number++) {
                all.push(client.publishAsync(`many/${number % 20}/${number}`, `round ${round}`));
            }
            await Promise.all(all);
        }
        await client.publishAsync("many/last", "over", { qos: 1 });
    })();
    await page.getByText("hall (1)").click();
    await page.getByText("hall (1)").click();
    await many;
    await page.getByText("many (1001)").waitFor();
    await page.getByText("many (1001)").click();
    await page.getByText("7 (50)", { exact: true }).click();
    await page.locator('[data-path="many/7/987"]').getByText("round 9").waitFor();
    await check("a thousand topics");

    // Published from the page, to whoever listens; not where only the gateway publishes.
    expected.push("/api/v1/topics/publish");
    await page.getByLabel("Topic to publish to").fill("$SYS/x");
    await page.getByLabel("Message text").fill("open");
    await page.getByRole("button", { name: "Publish", exact: true }).click();
    await page.getByText("only the gateway itself publishes there").waitFor();
    assert.equal(await page.getByLabel("Topic to publish to").getAttribute("aria-invalid"), "true");
    await page.getByLabel("Topic to publish to").fill("door/1");
    await page.getByLabel("Retain").check();
    await page.getByRole("button", { name: "Publish", exact: true }).click();
    await page.getByText("Published: 1 clients and 0 upstreams get it.").waitFor();
    await page.getByText("door (1)").click();
    await page.locator('[data-path="door/1"]').getByText("open").waitFor();
    assert.deepEqual(heard, ["door/1 open"]);

    // Deleted, after a question.
    await page.locator('[data-path="door/1"] button').click();
    await page.getByRole("button", { name: "Delete retained message" }).click();
    await page.getByRole("button", { name: "Yes, do it" }).click();
    await page.getByText("The retained message of door/1 is deleted.").waitFor();
    const newcomer = await mqtt.connectAsync(`mqtt://127.0.0.1:${settings.lan}`, { clientId: "late", reconnectPeriod: 0 });
    const late = [];
    newcomer.on("message", (topic) => late.push(topic));
    await newcomer.subscribeAsync(["door/1", "hall/state"]);
    while (late.length === 0) await new Promise((resolve) => newcomer.once("message", resolve));
    assert.deepEqual(late, ["hall/state"]);

    await page.setViewportSize({ width: 1280, height: 900 });
    await page.getByRole("link", { name: "Deutsch" }).click();
    await page.getByText("hall (1)").click();
    await page.locator('[data-path="hall/state"] button').click();
    await page.emulateMedia({ colorScheme: "dark" });
    if (settings.screenshot) await page.screenshot({ path: `${settings.screenshot}-topics-desktop.png`, fullPage: true });
    client.end(true);
    newcomer.end(true);
});
