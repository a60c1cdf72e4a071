// Every page in German, as a phone and a desk show it, in light and dark; and by the keyboard alone.

import { run } from "./harness.mjs";

const SIZES = [["phone", { width: 360, height: 740 }], ["desktop", { width: 1280, height: 900 }]];

await run(async ({ page, settings, check, expected, assert }) => {
    const look = async (name) => {
        for (const [kind, size] of SIZES) {
            await page.setViewportSize(size);
            await check(`${name}, ${kind}`);
            if (!settings.shots) continue;
            for (const scheme of ["light", "dark"]) {
                await page.emulateMedia({ colorScheme: scheme });
                await page.screenshot({ path: `${settings.shots}/${name}-${kind}-${scheme}.png`, fullPage: true });
            }
            await page.emulateMedia({ colorScheme: "light" });
        }
    };
    await page.goto(settings.page);
    await page.getByLabel("Übernahmecode").waitFor();
    await look("setup");
    await page.goto("about:blank");
    await page.goto(`${settings.page}setup#code=${settings.code}`);
    expected.push("/api/v1/claim");
    await page.locator("#password").fill(settings.common);
    await page.locator("form button.primary").first().click();
    await page.getByText("gehört zu den ersten, die jemand probieren würde").waitFor();
    assert.equal(await page.locator("#password").getAttribute("aria-invalid"), "true");
    await page.locator("#password").fill(settings.password);
    await page.locator("form button.primary").first().click();
    await page.waitForURL((url) => url.pathname !== "/setup" || url.search);
    await page.goto(settings.page);
    const links = await page.locator("header nav a").evaluateAll((all) => all.map((link) => new URL(link.href).pathname));
    assert.ok(links.length >= 9, links.join());
    for (const path of [...links, ...settings.more]) {
        await page.setViewportSize(SIZES[0][1]);
        await page.goto(settings.page + path.slice(1), { waitUntil: "load" });
        // The menu shows where one is, also where it is longer than the screen.
        const here = await page.locator("header nav [aria-current]").boundingBox();
        assert.ok(here && here.x >= 0 && here.x + here.width <= 360, `${path}: ${JSON.stringify(here)}`);
        assert.equal(await page.evaluate(() => document.documentElement.lang), "de");
        await look(path.replaceAll("/", "-").replace(/^-/, "") || "status");
        // The first thing that the keyboard reaches leads past the menu, and whatever it reaches can be seen.
        await page.evaluate(() => document.activeElement.blur());
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(() => document.activeElement.className), "skip", path);
        await page.keyboard.press("Enter");
        for (let step = 0; step < 6; step++) {
            await page.keyboard.press("Tab");
            const hidden = await page.evaluate(() => {
                const { width, height } = document.activeElement.getBoundingClientRect();
                return document.activeElement !== document.body && (width === 0 || height === 0) ? document.activeElement.outerHTML : "";
            });
            assert.equal(hidden, "", path);
        }
    }
    await page.getByRole("button", { name: "Abmelden" }).click();
    await page.getByLabel("Passwort").waitFor();
    await look("login");
});
