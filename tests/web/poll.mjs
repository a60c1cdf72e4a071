// A device that is asked is asked out of turn, with a phone.

import { run } from "./harness.mjs";

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
    await page.waitForFunction(async () => {
        const button = document.querySelector("[data-poll]");
        if (!button.disabled) button.click();
        return /did not answer/.test(document.querySelector("[data-polled]").textContent);
    }, undefined, { polling: 500 });
    await check("silent");
});
