// Where the network sets no clock, a satellite receiver does: one that the config has is chosen at the time, a new one
// where it is added.

import { run } from "./harness.mjs";

await run(
    async ({ page, settings, check, assert }) => {
        const shot = async (name) => {
            if (!settings.screenshots) return;
            for (const colorScheme of ["light", "dark"]) {
                await page.emulateMedia({ colorScheme });
                await page.screenshot({ path: `${settings.screenshots}/gnss-${name}-${colorScheme}.png`, fullPage: true });
            }
            await page.emulateMedia({ colorScheme: "light" });
        };
        const at = (title) => page.getByRole("heading", { name: title, level: 1 }).waitFor();
        await page.goto(`${settings.page}login`);
        await page.getByLabel("Name").fill("anna");
        await page.getByLabel("Password").fill(settings.password);
        await page.getByRole("button", { name: "Log in" }).click();
        await at("Status");

        await page.goto(`${settings.page}start?step=time`);
        await page.getByLabel("Satellite receiver").selectOption("roof");
        await check("a receiver is chosen");
        await shot("time");
        await page.getByRole("button", { name: "Next" }).click();
        await at("Ports");
        await page.goto(`${settings.page}start?step=summary`);
        await page.getByText('+device = "roof"').waitFor();
        await check("it will be written");
        await page.getByRole("button", { name: "Apply" }).click();
        await page.getByText("Counts at the next start: time").waitFor();

        // A new one brings the question along.
        await page.goto(`${settings.page}start?step=device`);
        await page.getByLabel("What it is").selectOption("pms5003");
        assert.equal(await page.getByLabel("Take the time from it").isVisible(), false);
        await page.getByLabel("What it is").selectOption("nmea-gps");
        await page.getByLabel("Line", { exact: true }).fill("/dev/ttyGPS");
        await page.getByLabel("Name of the device").fill("mast");
        await page.getByLabel("Take the time from it").check();
        await check("a new receiver");
        await shot("device");
        await page.getByRole("button", { name: "Next" }).click();
        await at("Upstream");
        await page.goto(`${settings.page}start?step=summary`);
        await page.getByText('+device = "mast"').waitFor();

        // And none any more.
        await page.goto(`${settings.page}start?step=device`);
        await page.getByRole("link", { name: "Skip" }).click();
        await page.goto(`${settings.page}start?step=time&lang=de`);
        await page.getByLabel("Satellitenempfänger").selectOption("");
        await check("in German");
        await shot("time-de");
        await page.getByRole("button", { name: "Weiter" }).click();
        await at("Anschlüsse");
        await page.goto(`${settings.page}start?step=summary&lang=en`);
        await page.getByText('-device = "roof"').waitFor();
        await page.getByRole("button", { name: "Apply" }).click();
        // That is what runs: there is nothing to start again for.
        await at("Status");
    },
    { viewport: { width: 360, height: 780 } },
);
