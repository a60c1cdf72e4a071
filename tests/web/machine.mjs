// Events, logs and system, as somebody looks for what went wrong.

import { run } from "./harness.mjs";

await run(async ({ page, settings, check, assert }) => {
    await page.goto(settings.page);
    await page.getByLabel("Claim code").fill(settings.code);
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Claim" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();
    const shot = async (name) => {
        if (!settings.screenshots) return;
        for (const [kind, width, colorScheme] of [["phone", 360, "dark"], ["desktop", 1280, "light"]]) {
            await page.setViewportSize({ width, height: 800 });
            await page.emulateMedia({ colorScheme });
            await page.screenshot({ path: `${settings.screenshots}/${name}-${kind}.png`, fullPage: name === "system" });
        }
        await page.setViewportSize({ width: 390, height: 844 });
        await page.emulateMedia({ colorScheme: "light" });
    };

    // What happened: the claim, and an upstream that isn't there.
    await page.getByRole("link", { name: "Events" }).click();
    await page.getByText("Gateway claimed").waitFor();
    await page.getByText("No connection to upstream").first().waitFor();
    await check("events");
    await shot("events");
    await page.getByLabel("Kind").selectOption("outages");
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("Gateway started").waitFor();
    assert.equal(await page.getByText("Gateway claimed").count(), 0);

    // The log: more of it for a while, and a line that comes while one looks.
    await page.getByRole("link", { name: "Logs" }).click();
    await page.getByText("started").first().waitFor();
    await check("logs");
    await shot("logs");
    await page.getByLabel("From this level on").selectOption("debug");
    await page.getByLabel("For how many minutes").fill("2");
    await page.getByRole("button", { name: "Set" }).click();
    await page.getByText("default is logged at debug for another").waitFor();
    await page.getByLabel("Contains").fill("log levels were set");
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForFunction(() => document.querySelectorAll("ol.lines li").length === 1);
    await page.evaluate(async () => {
        const headers = { "Content-Type": "application/json", "X-FG-CSRF": document.body.dataset.csrf };
        const body = JSON.stringify({ name: "bridge", level: "trace" });
        await fetch("/api/v1/log", { method: "POST", headers, body });
    });
    await page.waitForFunction(() => document.querySelectorAll("ol.lines li").length === 2);
    await page.getByRole("button", { name: "As configured" }).click();
    await page.waitForFunction(() => !document.querySelector(".notice:not(noscript *)"));

    // The machine, a bundle, and a start anew that asks back.
    await page.getByRole("link", { name: "System" }).click();
    await page.getByRole("heading", { name: "Certificates" }).waitFor();
    await check("system");
    await shot("system");
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
    assert.match(download.suggestedFilename(), /^fieldgate-.*support\.json$/);
    await page.getByRole("button", { name: "Restart the gateway" }).click();
    const yes = page.getByRole("button", { name: "Yes, do it" });
    assert.ok(await yes.isDisabled());
    await check("restart asks back");
    await page.getByLabel("Type").fill("gw");
    assert.ok(await yes.isEnabled());
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("link", { name: "Events" }).click();
    await page.getByText("Log levels set").first().waitFor();
});
