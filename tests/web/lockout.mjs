// The page's own address is changed: by the old one it can't be kept, a link leads to the new one, and there it is.

import { run } from "./harness.mjs";

await run(async ({ page, context, settings, check, assert }) => {
    const shot = async (name) => {
        if (settings.screenshots) await page.screenshot({ path: `${settings.screenshots}/${name}.png`, fullPage: true });
    };
    await page.goto(settings.page);
    await page.getByLabel("Claim code").fill(settings.code);
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Claim" }).click();
    // There is no device yet: it leads to the steps of the setup.
    await page.waitForURL("**/start");
    // Somebody looks on by the old address all the time.
    const stays = await context.newPage();
    await stays.goto(settings.page);
    await page.goto(`${settings.page}config?path=web`);
    await page.locator('[data-path="web.bind"]').fill(settings.bind);
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await page.getByText("waits to be confirmed").waitFor();
    const there = page.locator("[data-there]");
    await there.waitFor();
    assert.equal(await page.getByRole("button", { name: "Keep it" }).isVisible(), false);
    await check("a new address");
    await shot("lockout-old");
    assert.equal(await there.textContent(), settings.also[0]);
    await there.click();
    await page.waitForURL((url) => url.href.startsWith(settings.also[0]));
    await page.getByRole("button", { name: "Keep it" }).waitFor();
    assert.equal(await there.isVisible(), false);
    await check("the new address");
    await shot("lockout-new");
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.locator("[data-pending]").waitFor({ state: "hidden" });
    // The old one is closed: whoever looks on is told within seconds, and where the page is.
    const moved = stays.locator("[data-moved]");
    await moved.waitFor({ timeout: 10_000 });
    assert.equal(await moved.textContent(), settings.also[0]);
    await stays.getByText("The page has moved to").waitFor();
    await stays.locator("[data-pending]").waitFor({ state: "hidden" });
    if (settings.screenshots) await stays.screenshot({ path: `${settings.screenshots}/moved.png` });
    await moved.click();
    await stays.waitForURL((url) => url.href.startsWith(settings.also[0]));
    await stays.getByRole("heading", { name: "Status", level: 1 }).waitFor();
    await page.reload();
    assert.equal(await page.locator('[data-path="web.bind"]').inputValue(), settings.bind);
});
