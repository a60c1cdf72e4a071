// 500 sensors that send each second: the table can be scrolled, searched and read while it follows. What each page weighs,
// and how soon something is seen.

import { run } from "./harness.mjs";

const MS = (value) => `${Math.round(value)} ms`;

await run(async ({ page, settings, check, assert }) => {
    await page.goto(`${settings.page}login`);
    await page.getByLabel("Name").fill("anna");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();

    // Each page of the menu, by itself, with nothing kept from before.
    const links = await page.locator("header nav a").evaluateAll((all) => all.map((link) => new URL(link.href).pathname));
    assert.ok(links.length >= 9, links.join());
    const client = await page.context().newCDPSession(page);
    await client.send("Network.enable");
    await client.send("Network.setCacheDisabled", { cacheDisabled: true });
    let bytes = 0;
    client.on("Network.dataReceived", ({ dataLength }) => (bytes += dataLength));
    for (const path of links) {
        bytes = 0;
        await page.goto(settings.page + path.slice(1), { waitUntil: "load" });
        const paint = await page.evaluate(
            () => new Promise((resolve) => {
                const seen = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
                if (seen()) resolve(seen());
                new PerformanceObserver(() => seen() && resolve(seen())).observe({ type: "paint", buffered: true });
            }),
        );
        console.log(`${path}: ${bytes} bytes, first paint after ${MS(paint)}`);
        assert.ok(bytes > 10_000 && bytes < 200_000, `${path} weighs ${bytes} bytes`);
        assert.ok(paint < 5_000, `${path} is seen after ${MS(paint)}`);
    }

    // A hundred rows follow while they are scrolled.
    await client.send("Network.setCacheDisabled", { cacheDisabled: false });
    await page.goto(`${settings.page}sensors?sort=name`);
    await page.getByText("500 of 500 sensors, page 1 of 5").waitFor();
    await page.evaluate(() => {
        window.long = [];
        new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
        window.changes = 0;
        const observer = new MutationObserver((all) => (window.changes += all.length));
        for (const place of document.querySelectorAll("[data-live]")) observer.observe(place, { childList: true });
        window.began = performance.now();
    });
    for (let step = 0; step < 40; step++) {
        await page.mouse.wheel(0, step < 20 ? 400 : -400);
        await page.evaluate(() => new Promise(requestAnimationFrame));
    }
    await page.waitForFunction(() => window.changes > 1000);
    const { long, changes, ms } = await page.evaluate(() => ({ long: window.long, changes: window.changes, ms: performance.now() - window.began }));
    const busy = long.reduce((sum, one) => sum + one, 0);
    console.log(`${changes} values changed in ${MS(ms)}; ${long.length} long tasks, the longest ${MS(Math.max(0, ...long))}, ${MS(busy)} in all`);
    assert.ok(busy < ms / 2, "the browser does little else");
    await check("500 sensors");

    // One of them is found, and opened.
    await page.getByLabel("Find").fill("g7-49");
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("1 of 500 sensors, page 1 of 1").waitFor();
    await page.getByRole("link", { name: "g7-49" }).click();
    await page.getByRole("heading", { name: "g7-49", level: 1 }).waitFor();
});
