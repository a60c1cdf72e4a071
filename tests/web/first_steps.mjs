// From the claim to a value that changes while one looks.

import { run } from "./harness.mjs";

await run(async ({ page, settings, check, expected, assert }) => {
    await page.goto(settings.page);
    assert.equal(new URL(page.url()).pathname, "/setup");
    await check("setup");

    // A wrong code is told at its field.
    expected.push("/api/v1/claim");
    await page.getByLabel("Claim code").fill("AAAA-BBBB-CCCC-DDDD-EEEE");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Claim" }).click();
    await page.getByText("this isn't the gateway's code").waitFor();
    assert.equal(await page.getByLabel("Claim code").getAttribute("aria-invalid"), "true");
    await check("setup with a mistake");

    // As a label's picture leads there.
    await page.goto("about:blank");
    await page.goto(`${settings.page}setup#code=${settings.code}`);
    assert.equal(await page.getByLabel("Claim code").inputValue(), settings.code);
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Claim" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();

    // Out and in again.
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByRole("heading", { name: "Log in" }).waitFor();
    await check("login");
    expected.push("/api/v1/login");
    await page.getByLabel("Name").fill("admin");
    await page.getByLabel("Password").fill("not this one at all");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByText("name or password is wrong").waitFor();
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();

    // The sensor sends a number that grows: the value on the page follows without a reload.
    const value = page.locator('[data-live="weather/t"]');
    await value.waitFor();
    const before = await value.textContent();
    await page.waitForFunction(
        (before) => ![before, undefined].includes(document.querySelector('[data-live="weather/t"]')?.textContent),
        before,
    );
    await check("status");

    // In German, and dark.
    await page.getByRole("link", { name: "Deutsch" }).click();
    await page.getByText("Sensoren").first().waitFor();
    await page.getByRole("button", { name: "Hell/dunkel" }).click();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    assert.equal(await page.evaluate(() => document.documentElement.lang), "de");
    if (settings.screenshot) await page.screenshot({ path: settings.screenshot, fullPage: true });
});
