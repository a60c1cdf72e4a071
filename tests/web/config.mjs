// The config is changed as a technician would: a point of a sensor in the form, a bad value in form and text, a change
// that could lock people out and goes back by itself, one that is kept, and back to an earlier version.

import { run } from "./harness.mjs";

await run(async ({ page, settings, check, assert }) => {
    const shot = async (name) => {
        if (settings.screenshots) await page.screenshot({ path: `${settings.screenshots}/${name}.png`, fullPage: true });
    };
    const said = (text) => page.locator("[data-said]").getByText(text).waitFor();
    await page.goto(settings.page);
    await page.getByLabel("Claim code").fill(settings.code);
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Claim" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();
    await page.locator('[data-live="weather/t"]').waitFor();

    // From the sections to a point.
    await page.getByRole("link", { name: "Config" }).click();
    await page.getByRole("heading", { name: "Config", level: 1 }).waitFor();
    await check("sections");
    await shot("sections");
    await page.getByRole("link", { name: "device (1)" }).click();
    await page.getByRole("link", { name: "weather", exact: true }).click();
    await page.getByRole("link", { name: "t", exact: true }).click();
    await page.locator('[data-path="device.weather.points.t.scale"]').fill("10");
    await page.getByRole("button", { name: "Check" }).click();
    await page.getByText("This is a valid config.").waitFor();
    await page.locator("[data-result]").getByText("device.weather.points.t").first().waitFor();
    await check("a point");
    await shot("point");
    await page.getByLabel("Note for the history").fill("the sensor counts tens");
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await said("The change is in use as version 2.");
    assert.equal(await page.locator('[data-path="device.weather.points.t.scale"]').inputValue(), "10");
    await check("applied");
    await shot("applied");
    await page.goto(settings.page);
    await page.waitForFunction(() => Number(document.querySelector('[data-live="weather/t"]')?.textContent) >= 10_000);

    // A bad value stands at its field …
    await page.goto(`${settings.page}config?path=health`);
    const every = page.locator('[data-path="health.every"]');
    await every.fill("5");
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    const wrong = page.locator(".field-error");
    await wrong.waitFor();
    const message = await wrong.textContent();
    assert.ok(message.length > 10, message);
    assert.equal(await every.getAttribute("aria-invalid"), "true");
    assert.equal(await wrong.evaluate((told) => told.previousElementSibling.dataset.path), "health.every");
    await check("a mistake in the form");
    await shot("mistake");
    // … and is refused in the text with the same words, at its line.
    await page.getByRole("link", { name: "Text" }).click();
    const editor = page.locator("textarea").first();
    const whole = await editor.inputValue();
    const broken = `${whole}\n[health]\nevery = "5"\n`;
    await editor.fill(broken);
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    const item = page.locator("[data-result] li");
    await item.waitFor();
    assert.equal(await item.textContent(), `line ${broken.split("\n").length - 1} ${message}`);
    await item.getByRole("button").click();
    const chosen = await editor.evaluate((area) => area.value.slice(area.selectionStart, area.selectionEnd));
    assert.equal(chosen, '"5"');
    await check("a mistake in the text");
    await shot("text");
    await page.reload();
    assert.equal(await editor.inputValue(), whole, "nothing has changed");

    // What could lock people out goes back by itself …
    const bind = page.locator('[data-path="broker.listener.panel.bind"]');
    const move = async () => {
        await page.goto(`${settings.page}config?path=broker.listener.panel`);
        await bind.fill(settings.elsewhere);
        await page.getByRole("button", { name: "Apply", exact: true }).click();
        await page.getByText("waits to be confirmed").waitFor();
    };
    await move();
    await check("a change that waits");
    await shot("waits");
    // On every page.
    await page.goto(settings.page);
    await page.getByText("A change by admin (the page) waits to be confirmed.").waitFor();
    await page.getByText("Everything is as before the change.").waitFor();
    await page.locator("[data-pending]").waitFor({ state: "hidden" });
    await page.goto(`${settings.page}config?path=broker.listener.panel`);
    assert.equal(await bind.inputValue(), settings.before);
    // … or when it is put back …
    await move();
    await page.getByRole("button", { name: "Put it back" }).click();
    await page.locator("[data-pending]").waitFor({ state: "hidden" });
    await page.waitForFunction(
        (before) => document.querySelector('[data-path="broker.listener.panel.bind"]').value === before,
        settings.before,
    );
    // … and stays when it is kept.
    await move();
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.locator("[data-pending]").waitFor({ state: "hidden" });
    await page.reload();
    assert.equal(await bind.inputValue(), settings.elsewhere);

    // A table becomes one of another kind: what doesn't fit is told, and goes when that is asked for.
    await page.goto(`${settings.page}config?path=device.weather`);
    const kind = page.locator('[data-path="device.weather.decode.kind"]');
    await kind.selectOption("regex");
    await page.getByText("becomes one of another kind").waitFor();
    await page.locator('[data-path="device.weather.decode.pattern"]').fill('"t": (?<t>[0-9.]+)');
    await page.evaluate(() => {
        window.told = [];
        const look = () => window.told.push(...[...document.querySelectorAll("[data-trying] li")].map((item) => item.textContent));
        new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await page.getByRole("button", { name: "Try it" }).click();
    await page.locator("[data-result]").getByText("What was tried").waitFor();
    await check("another kind");
    await shot("kind");
    const told = await page.evaluate(() => window.told);
    assert.ok(told.some((text) => text === "port weather-port: being tried …"), told.join(" | "));
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await said("The change is in use as version");
    assert.equal(await kind.inputValue(), "regex");
    await kind.selectOption("json");
    await page.locator("[data-unfit]").getByText("device.weather.decode.pattern").waitFor();
    await check("what does not fit");
    await shot("unfit");
    await page.getByRole("button", { name: "Check" }).click();
    await page.locator("[data-result]").getByText("unknown key").waitFor();
    await page.getByLabel("Take these out with the change").check();
    await page.getByRole("button", { name: "Check" }).click();
    await page.getByText("This is a valid config.").waitFor();
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await said("The change is in use as version");
    await kind.waitFor();
    assert.equal(await page.locator('[data-path="device.weather.decode.pattern"]').count(), 0);

    // A new one is made by its name, and removed by typing it.
    await page.goto(`${settings.page}config?path=upstream`);
    await page.getByText("There is none yet.").waitFor();
    await page.getByRole("link", { name: "Add one" }).click();
    await page.locator('[data-path="upstream.*.name"]').fill("central");
    await page.locator('[data-path="upstream.*.host"]').fill("127.0.0.1");
    await page.locator('[data-path="upstream.*.port"]').fill("1");
    await page.getByRole("button", { name: "Try it" }).click();
    await page.getByText("does not work").first().waitFor();
    await check("tried");
    await shot("tried");
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await page.getByRole("button", { name: "Apply all the same" }).click();
    await page.getByRole("button", { name: "Yes, do it" }).click();
    await said("The change is in use as version");
    assert.equal(new URL(page.url()).searchParams.get("path"), "upstream.central");
    await page.getByRole("button", { name: "Remove" }).click();
    const yes = page.getByRole("button", { name: "Yes, do it" });
    assert.ok(await yes.isDisabled());
    await page.getByLabel("Type central to confirm").fill("central");
    await yes.click();
    await page.waitForURL((url) => url.searchParams.get("path") === "upstream");
    await said("The change is in use as version");
    await page.getByText("There is none yet.").waitFor();

    // Changed on disk meanwhile: nothing is overwritten. The test on the other side edits the file for a site "by hand".
    await page.goto(`${settings.page}config?path=gateway`);
    await page.locator('[data-path="gateway.site"]').fill("from the page");
    console.log("edit by hand");
    await page.waitForFunction(async () => !(await (await fetch("/api/v1/config")).json()).is_running);
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await page.getByText("Somebody has changed the config on disk meanwhile.").waitFor();
    await page.getByRole("button", { name: "Load the page again" }).click();
    await page.getByText("The config on disk is not what runs").waitFor();

    // Back to what was in use first.
    await page.getByRole("link", { name: "History" }).click();
    await page.getByText("the sensor counts tens").waitFor();
    await check("history");
    await page.getByRole("link", { name: "Version 1", exact: true }).click();
    await page.getByText("Going back to it would change").first().waitFor();
    await check("a version");
    await shot("version");
    await page.getByRole("button", { name: "Go back to this version" }).click();
    await page.getByRole("button", { name: "Yes, do it" }).click();
    await page.getByText("waits to be confirmed").waitFor();
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.locator("[data-pending]").waitFor({ state: "hidden" });
    await page.goto(`${settings.page}config?path=device.weather.points.t`);
    assert.equal(await page.locator('[data-path="device.weather.points.t.scale"]').inputValue(), "");

    // In German, on a desk.
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.goto(`${settings.page}config?lang=de`);
    await page.getByText("Alles, was sich einstellen lässt").waitFor();
    await page.emulateMedia({ colorScheme: "dark" });
    await shot("desk-sections-de");
    await page.goto(`${settings.page}config?path=device.weather`);
    await shot("desk-device-de");
    await page.goto(`${settings.page}config/history`);
    await shot("desk-history-de");
});
