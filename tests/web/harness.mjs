// What every browser test has in common: a Chromium without a window that trusts the gateway's own certificate, and the
// rules that hold for every page: no error on its console, no request to anywhere else, nothing that axe-core finds
// serious. A test is a script that calls `run(async ({ page, settings, check }) => …)`; its settings are JSON in its first
// argument: `page` (the page's address), `also` (further addresses of it), `certificate`, `packages`, `chromium`, and what
// its test adds.

import assert from "node:assert/strict";
import { X509Certificate, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

export const settings = JSON.parse(process.argv[2]);
const require = createRequire(join(settings.packages, "node_modules/"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** Serious things that axe-core finds on the page as it is now. */
async function serious(page) {
    // The page's policy forbids scripts of others; the test's own come in beside it.
    const found = await page.evaluate(`(async () => { ${axe}; return (await axe.run()).violations; })()`);
    return found
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" | ")}`);
}

/** Runs a test, and ends the process with how it went. */
export async function run(test, { viewport = { width: 390, height: 844 }, colorScheme = "light" } = {}) {
    const { publicKey } = new X509Certificate(readFileSync(settings.certificate));
    const key = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
    const browser = await chromium.launch({
        executablePath: settings.chromium,
        chromiumSandbox: process.getuid() !== 0,
        args: [`--ignore-certificate-errors-spki-list=${key}`, "--disable-dev-shm-usage", "--disable-gpu"],
    });
    const wrong = [];
    try {
        const context = await browser.newContext({ viewport, colorScheme, locale: settings.locale ?? "en-GB" });
        const page = await context.newPage();
        page.setDefaultTimeout(30_000);
        // Answers of the API that a test asks for on purpose, such as a wrong password, stand on the console too.
        const expected = [];
        page.on("console", (message) => {
            const text = `${message.text()} ${message.location().url ?? ""}`;
            if (message.type() === "error" && !expected.some((part) => text.includes(part))) wrong.push(`console: ${text}`);
        });
        page.on("pageerror", (error) => wrong.push(`error: ${error.stack}`));
        page.on("request", (request) => {
            const url = request.url();
            const own = [settings.page, ...(settings.also ?? []), "data:", "blob:"];
            if (!own.some((place) => url.startsWith(place))) wrong.push(`a request to ${url}`);
        });
        /** Looks at the page as it is now with axe-core, in both colours. */
        const check = async (what) => {
            for (const scheme of ["light", "dark"]) {
                await page.emulateMedia({ colorScheme: scheme });
                for (const violation of await serious(page)) wrong.push(`${what}, ${scheme}: ${violation}`);
            }
            await page.emulateMedia({ colorScheme });
            const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
            if (wide > 0) wrong.push(`${what}: ${wide} px wider than the screen`);
        };
        await test({ page, context, settings, check, expected, assert });
    } finally {
        await browser.close();
    }
    assert.deepEqual(wrong, []);
    console.log("all is well");
}
