// A device that is asked is asked out of turn, with a phone.

import { existsSync } from "node:fs";

import { run } from "./harness.mjs";

/** Waits until the test has stopped the device. */
async function silenced(page, { stopped }) {
    while (!existsSync(stopped)) await page.waitForTimeout(50);
}

await run(async ({ page, settings, check, assert }) => {
    await page.goto(`${settings.page}login`);
    await page.getByLabel("Name").fill("anna");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();
    await page.goto(`${settings.page}sensors/meter`);
    await page.getByRole("button", { name: "Poll now" }).click();
    await page.getByText(/It answered after [\d.]+ ms\./).waitFor();
    const told = page.locator("[data-polled]");
    assert.match(await told.textContent(), /voltage.*\d+(\.\d+)? V/);
    await check("polled");
    if (settings.screenshots) await page.screenshot({ path: `${settings.screenshots}/polled.png`, fullPage: true });
    // The slave falls silent: that is told, too.
    console.log("silence");
    await silenced(page, settings);
    await page.getByRole("button", { name: "Poll now" }).click();
    await page.getByText("This takes at most 50 s.").waitFor();
    await page.locator("[data-polled] progress").waitFor();
    await check("waiting");
    if (settings.screenshots) await page.screenshot({ path: `${settings.screenshots}/polling.png`, fullPage: true });
    // Whoever doesn't want to wait for it stops it, and may ask again.
    await page.getByRole("button", { name: "Stop" }).click();
    await told.getByText("Called off.").waitFor();
    await page.waitForFunction(async () => {
        const button = document.querySelector("[data-poll]");
        if (!button.disabled) button.click();
        return /did not answer/.test(document.querySelector("[data-polled]").textContent);
    }, undefined, { polling: 500 });
    await check("silent");
});
