// What hangs on the gateway and where readings go, as a technician looks at it with a phone.

import { run } from "./harness.mjs";

await run(async ({ page, settings, check, expected, assert }) => {
    const shot = async (name) => {
        if (!settings.shots) return;
        for (const [kind, size] of [["phone", { width: 360, height: 780 }], ["desktop", { width: 1280, height: 900 }]]) {
            await page.setViewportSize(size);
            await page.screenshot({ path: `${settings.shots}/${name}-${kind}.png`, fullPage: true });
            await page.emulateMedia({ colorScheme: "dark" });
            await page.screenshot({ path: `${settings.shots}/${name}-${kind}-dark.png`, fullPage: true });
            await page.emulateMedia({ colorScheme: "light" });
        }
        await page.setViewportSize({ width: 360, height: 780 });
    };
    await page.setViewportSize({ width: 360, height: 780 });
    await page.goto(`${settings.page}login`);
    await page.getByLabel("Name").fill("anna");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();

    // Sensors: the value follows; one is found by letters; the silent one stands first.
    await page.getByRole("link", { name: "Sensors" }).click();
    // The page before it has that value too.
    await page.getByRole("heading", { name: "Sensors", level: 1 }).waitFor();
    const value = page.locator('[data-live="weather/t"]');
    const before = await value.textContent();
    await page.waitForFunction((before) => ![before, undefined].includes(document.querySelector('[data-live="weather/t"]')?.textContent), before);
    await check("sensors");
    await shot("sensors");
    await page.getByLabel("Find").fill("nothing like this");
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("No sensor, port or point has these letters.").waitFor();
    await page.getByRole("link", { name: "Show all" }).click();
    await page.getByRole("link", { name: "weather" }).click();

    // One sensor: what came last, and a line that is tried.
    await page.getByRole("heading", { name: "weather", level: 1 }).waitFor();
    await page.getByText('{"t": ').first().waitFor();
    await page.getByLabel("What it sends").fill('{"t": 19.25}\n{"t": 99}\nrubbish');
    await page.getByRole("button", { name: "Try" }).click();
    await page.getByText("19.25 °C", { exact: true }).waitFor();
    await page.getByText("°C (out of range)").waitFor();
    await page.getByText("Frame without values").waitFor();
    expected.push("/try");
    await page.getByLabel("What it sends").fill("0g");
    await page.getByLabel("These are bytes").check();
    await page.getByRole("button", { name: "Try" }).click();
    await page.locator("#text-error").waitFor();
    assert.equal(await page.getByLabel("What it sends").getAttribute("aria-invalid"), "true");
    await check("one sensor");
    await shot("sensor");

    // What the lines say, once it is so. The page loads itself anew after what was done; a look too early is taken again.
    const shows = async (wanted) => {
        for (let look = 1; look <= 80; look++) {
            const text = await page.getByRole("region", { name: "GPIO lines" }).textContent({ timeout: 2000 }).catch(() => "");
            if (wanted.test(text)) return;
            await page.waitForTimeout(250);
            if (look % 8 === 0) await page.goto(`${settings.page}ports`).catch(() => {});
        }
        throw new Error(`the lines never say ${wanted}`);
    };

    // From a point to its form and back: the new value shows.
    await page.getByRole("link", { name: "edit t", exact: true }).click();
    await page.locator('[data-path="device.weather.points.t.offset"]').fill("0.25");
    await page.getByRole("button", { name: "Apply", exact: true }).click();
    await page.locator("[data-said]").getByText("The change is in use as version").waitFor();
    await page.goto(`${settings.page}sensors/weather`);
    await page.waitForFunction(() => /\.75$/.test(document.querySelector('[data-live="weather/t"]')?.textContent));

    // The upstream can't be reached: why, and what waits meanwhile.
    await page.getByRole("link", { name: "Upstreams" }).click();
    await page.getByText("not connected").waitFor();
    await page.getByText("refused", { exact: false }).first().waitFor();
    await check("upstreams");
    await shot("upstreams");
    await page.getByRole("button", { name: "Connect now" }).click();
    await page.getByRole("link", { name: "What waits, and what was lost" }).click();
    await page.getByRole("heading", { name: "Buffer", level: 1 }).waitFor();
    const waits = page.locator('[data-status="upstreams.0.messages"]');
    await page.waitForFunction(() => Number(document.querySelector('[data-status="upstreams.0.messages"]').textContent) > 3);
    await page.reload();
    await check("buffer");
    await shot("buffer");

    // What waits is held back by whoever says yes, and goes on again.
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("up: hold back what waits").waitFor();
    await page.getByRole("button", { name: "Yes" }).click();
    await page.getByText("Paused", { exact: true }).waitFor();
    await check("paused");
    await shot("paused");
    await page.getByRole("button", { name: "Go on" }).click();
    await page.getByRole("button", { name: "Pause" }).waitFor();

    // All of it as a file.
    const coming = page.waitForEvent("download");
    await page.getByRole("link", { name: "Save what waits as a file" }).click();
    const file = await (await coming).createReadStream();
    let text = "";
    for await (const piece of file) text += piece;
    const lines = text.trim().split("\n").map((line) => JSON.parse(line));
    assert.ok(lines.length > 3 && lines.every(({ upstream }) => upstream === "up"), text);

    // Given up only by whoever types the upstream's name.
    await page.getByRole("button", { name: "Give up what waits" }).click();
    const yes = page.getByRole("button", { name: "Yes" });
    assert.ok(await yes.isDisabled());
    await page.getByLabel("Type up to confirm").fill("upp");
    assert.ok(await yes.isDisabled());
    await check("purge asks");
    await page.getByLabel("Type up to confirm").fill("up");
    await yes.click();
    await page.getByText("given up", { exact: true }).first().waitFor();
    assert.ok(Number(await waits.textContent()) < lines.length, "few wait since then");

    // Ports: what is open, and an output that is switched by whoever says yes.
    await page.getByRole("link", { name: "Ports" }).click();
    await page.getByRole("heading", { name: "weather-port" }).waitFor();
    await page.getByRole("heading", { name: "Plugged in" }).waitFor();
    const line = page.getByRole("group", { name: "pump" });
    await line.getByRole("button", { name: "Switch on" }).click();
    await page.getByText("pump: switch it on?").waitFor();
    await check("switching asks");
    await page.getByRole("button", { name: "Cancel" }).click();
    await line.getByRole("button", { name: "Switch on" }).click();
    await page.getByRole("button", { name: "Yes" }).click();
    await shows(/: on\b/);
    // A counter is set to what the meter shows.
    await page.getByLabel("What the meter shows").fill("1234.5");
    await page.getByRole("button", { name: "Set the total" }).click();
    await page.getByText("water: set the total?").waitFor();
    await page.getByRole("button", { name: "Yes" }).click();
    await shows(/total: 1234\.5/);
    await check("ports");
    await shot("ports");
});
