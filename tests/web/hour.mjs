// A browser that stays: some pages open at once, for as long as it is told.

import { run } from "./harness.mjs";

await run(async ({ page, context, settings, assert }) => {
    await page.goto(`${settings.page}login`);
    await page.getByLabel("Name").fill("anna");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();
    for (const path of ["sensors", "topics"]) {
        const tab = await context.newPage();
        await tab.goto(settings.page + path);
    }
    console.log("open");
    const end = Date.now() + settings.minutes * 60_000;
    const value = page.locator('[data-live="weather/t"]');
    let before = "";
    while (Date.now() < end) {
        // It follows to the end.
        await page.waitForFunction((before) => ![before, undefined].includes(document.querySelector('[data-live="weather/t"]')?.textContent), before);
        before = await value.textContent();
        await page.waitForTimeout(5_000);
        // Somebody is there: the session doesn't end for want of use.
        assert.equal(await page.evaluate(async () => (await fetch("/api/v1/session")).status), 200);
    }
});
