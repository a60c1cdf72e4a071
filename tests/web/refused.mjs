// What is refused is said in the language of the page: at the claim, at the login, by an operation of the gateway, and
// around mistakes in the config, which themselves have the same words in form, text and `fieldgate check`.

import { run } from "./harness.mjs";

await run(
    async ({ page, settings, check, expected, assert }) => {
        const shot = async (name) => {
            if (!settings.screenshots) return;
            for (const colorScheme of ["light", "dark"]) {
                await page.emulateMedia({ colorScheme });
                await page.screenshot({ path: `${settings.screenshots}/refused-${name}-${colorScheme}.png`, fullPage: true });
            }
            await page.emulateMedia({ colorScheme: "light" });
        };
        const go = () => page.locator("form button.primary").first().click();
        expected.push("/api/v1/claim", "/api/v1/login", "/api/v1/config/revert");

        await page.goto(settings.page);
        await page.getByRole("heading", { name: "Dieses Gateway übernehmen" }).waitFor();
        await page.locator("#code").fill("AAAA-BBBB-CCCC-DDDD-EEEE");
        await page.locator("#password").fill(settings.password);
        await go();
        await page.locator("#code-error").getByText("Das ist nicht der Code dieses Gateways.").waitFor();
        await check("a wrong code");
        await shot("code");
        await page.locator("#code").fill(settings.code);
        await page.locator("#password").fill("passwort12345");
        await go();
        await page.locator("#password-error").getByText("gehört zu den ersten, die jemand probieren würde").waitFor();
        await shot("password");
        await page.locator("#name").fill("anna");
        await page.locator("#password").fill(settings.password);
        await go();
        await page.waitForURL("**/start");

        await page.context().clearCookies();
        await page.goto(`${settings.page}login`);
        await page.locator("#name").fill("anna");
        await page.locator("#password").fill("wrong");
        await go();
        await page.locator("[data-error]").getByText("Name oder Passwort ist falsch.").waitFor();
        await check("a wrong password");
        await shot("login");
        await page.locator("#password").fill(settings.password);
        await go();
        await page.getByRole("heading", { name: "Status", level: 1 }).waitFor();

        // An operation; its code and values are for programs.
        const refused = await page.evaluate(async () => {
            const headers = { "Content-Type": "application/json", "X-FG-CSRF": document.body.dataset.csrf };
            const request = { method: "POST", headers, body: JSON.stringify({ version: 99 }) };
            return (await fetch("/api/v1/config/revert", request)).json();
        });
        assert.equal(refused.error.message, "Es gibt keine Version 99.");
        assert.deepEqual(refused.error.said, { code: "no_version", values: { number: "99" } });

        // A mistake in the config: German around it, the same words in the form and in the text.
        await page.goto(`${settings.page}config?path=health`);
        await page.locator('[data-path="health.every"]').fill("5");
        await page.locator('[data-config-form] [data-act="look"]').click();
        const wrong = page.locator(".field-error").first();
        await wrong.waitFor();
        const message = await wrong.textContent();
        await page.getByText("Darin ist ein Fehler; geändert wurde nichts.").waitFor();
        assert.match(message, /every.*5/);
        await check("a mistake in the form");
        await shot("mistake");
    },
    { viewport: { width: 360, height: 780 } },
);
