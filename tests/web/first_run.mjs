// A new gateway, from the claim to a reading at the upstream, all through the page and with a phone; then what somebody
// does who comes back: a connection that is tested, a sensor's form.

import { run } from "./harness.mjs";

await run(
    async ({ page, settings, check, expected, assert }) => {
        const shot = async (name) => {
            if (!settings.screenshots) return;
            for (const [kind, width, colorScheme] of [["phone", 360, "light"], ["phone-dark", 360, "dark"], ["desktop", 1280, "light"]]) {
                await page.setViewportSize({ width, height: 780 });
                await page.emulateMedia({ colorScheme });
                await page.screenshot({ path: `${settings.screenshots}/start-${name}-${kind}.png`, fullPage: true });
            }
            await page.setViewportSize({ width: 360, height: 780 });
            await page.emulateMedia({ colorScheme: "light" });
        };
        const at = (title) => page.getByRole("heading", { name: title, level: 1 }).waitFor();
        const next = () => page.getByRole("button", { name: "Next" }).click();

        // The claim; a wrong code first.
        await page.goto(settings.page);
        expected.push("/api/v1/claim");
        await page.getByLabel("Claim code").fill("AAAA-BBBB-CCCC-DDDD-EEEE");
        await page.getByLabel("Password").fill(settings.password);
        await page.getByRole("button", { name: "Claim" }).click();
        await page.getByText("this isn't the gateway's code").waitFor();
        await page.getByLabel("Claim code").fill(settings.code);
        await page.getByRole("button", { name: "Claim" }).click();

        // Name and site; a site that can't be is told at its field.
        await at("Name");
        await check("name");
        await page.getByLabel("Where it stands").fill("x".repeat(500));
        await next();
        await page.locator("#site-error").waitFor();
        await check("a mistake");
        await shot("name");
        await page.getByLabel("Where it stands").fill("North barn");
        await next();

        // The clock.
        await at("Time");
        await page.getByText("Compared with this browser").waitFor();
        await page.getByText("the same", { exact: true }).waitFor();
        await check("time");
        await shot("time");
        await page.getByRole("link", { name: "Skip" }).click();

        // What hangs on a line; one that isn't there is told at its field.
        await at("Ports");
        await check("port");
        expected.push("/api/v1/listen");
        await page.getByLabel("Another line").fill("/dev/null");
        await page.getByRole("button", { name: "Listen" }).click();
        await page.locator("#path-error").getByText("/dev/null is no serial line").waitFor();
        await page.getByLabel("Another line").fill(settings.line);
        await page.getByRole("button", { name: "Listen" }).click();
        // A scan that is not sure tries all rates, four seconds each.
        await page.getByRole("button", { name: "Use pms5003" }).waitFor({ timeout: 90_000 });
        await check("heard");
        await shot("port");
        await page.getByRole("button", { name: "Use pms5003" }).click();

        // The device, read before anything is saved.
        await at("First device");
        assert.equal(await page.getByLabel("Line", { exact: true }).inputValue(), settings.line);
        assert.equal(await page.getByLabel("What it is").inputValue(), "pms5003");
        await page.getByLabel("Name of the device").fill("dust");
        await page.getByRole("button", { name: "Read now" }).click();
        await page.getByText("dust: ").waitFor();
        await check("read");
        await shot("device");
        await next();

        // The upstream: nobody there, a wrong password, the right one.
        await at("Upstream");
        const test = () => page.getByRole("button", { name: "Test connection" }).click();
        await test();
        await page.locator("#host-error").waitFor();
        await page.getByLabel("Host", { exact: true }).fill("127.0.0.1");
        await page.getByLabel("Port", { exact: true }).fill(String(settings.nobody));
        await test();
        await page.getByText("It does not work:").waitFor();
        await page.locator("#host-error").getByText("nothing listens there").waitFor();
        await check("nobody there");
        await page.getByLabel("Port", { exact: true }).fill(String(settings.upstream));
        await page.getByLabel("User").fill("gateway");
        await page.getByLabel("Password").fill("wrong");
        await test();
        await page.locator("#password-error").waitFor();
        await page.getByLabel("Password").fill("right");
        await test();
        await page.getByText("The connection works.").waitFor();
        await page.getByText("Round trip").waitFor();
        await check("tested");
        await shot("upstream");
        await next();

        // Whoever comes back is where he was; what is chosen is there, but for the password.
        await at("Apply");
        await page.goto(`${settings.page}start`);
        await at("Apply");
        await page.getByRole("link", { name: "5. Upstream" }).click();
        await at("Upstream");
        assert.equal(await page.getByLabel("User").inputValue(), "gateway");
        assert.equal(await page.getByLabel("Password").inputValue(), "");
        const kept = await page.evaluate(() => JSON.stringify({ ...localStorage }));
        assert.ok(!kept.includes("right") && kept.includes("127.0.0.1"), kept);
        await next();

        // What will be written, then the first reading.
        await at("Apply");
        await page.getByText('+site = "North barn"').waitFor();
        await page.getByText('+profile = "pms5003"').waitFor();
        await check("summary");
        await shot("summary");
        await page.getByRole("button", { name: "Apply" }).click();
        await at("Status");
        const value = page.locator('[data-live^="dust/"]').first();
        await value.waitFor();
        assert.match(await value.textContent(), /^\d/);
        await page.locator('[data-good="online"]').getByText("online").waitFor();
        await check("status");
        await shot("status");
        console.log("set up");

        // Later: is the connection still good?
        await page.getByRole("link", { name: "Upstreams" }).click();
        await page.getByRole("button", { name: "Test connection" }).click();
        await page.getByText("The connection works.").waitFor();
        await check("upstreams");
        await shot("upstreams");

        // A sensor that sends by itself can't be asked; its form is one step away.
        await page.getByRole("link", { name: "Sensors" }).click();
        await page.getByRole("link", { name: "dust" }).click();
        await page.getByText("It sends by itself; it can't be asked.").waitFor();
        await check("sensor");
        await page.getByRole("link", { name: "Change in the config", exact: true }).click();
        await page.locator('[data-path="device.dust.stale_after"]').waitFor();

        // In German.
        await page.goto(`${settings.page}start?step=device&lang=de`);
        await at("Erstes Gerät");
        await page.getByText("In der Konfiguration stehen schon:").waitFor();
        await check("in German");
        await shot("device-de");

        // Another id is a matter of a restart, which is offered; it can wait.
        await page.goto(`${settings.page}start?step=name&lang=en`);
        await page.getByLabel("Id", { exact: true }).fill("barn-7");
        await next();
        await at("Time");
        await page.getByRole("link", { name: "6. Apply" }).click();
        await page.getByText('gateway.id: "barn-7" – counts after a restart').waitFor();
        await page.getByRole("button", { name: "Apply" }).click();
        await page.getByText("Counts at the next start: gateway.id").waitFor();
        await page.getByRole("button", { name: "Restart now" }).waitFor();
        await check("a restart is offered");
        await shot("restart");
        await page.getByRole("link", { name: "Later" }).click();
        await at("Status");
    },
    { viewport: { width: 360, height: 780 } },
);
