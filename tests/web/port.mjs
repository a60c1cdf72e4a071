// Somebody stands before a bus: who answers, what passes over the wires, and the findings in the config.

import { readFile } from "node:fs/promises";
import { run } from "./harness.mjs";

await run(async ({ page, settings, check, expected, assert }) => {
    const shot = async (name) => {
        if (!settings.shots) return;
        for (const [kind, size] of [["phone", { width: 360, height: 780 }], ["desktop", { width: 1280, height: 900 }]]) {
            await page.setViewportSize(size);
            for (const colorScheme of ["dark", "light"]) {
                await page.emulateMedia({ colorScheme });
                await page.screenshot({ path: `${settings.shots}/${name}-${kind}-${colorScheme}.png`, fullPage: true });
            }
        }
        await page.setViewportSize({ width: 360, height: 780 });
    };
    await page.setViewportSize({ width: 360, height: 780 });
    await page.goto(`${settings.page}login`);
    await page.getByLabel("Name").fill("anna");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("link", { name: "Ports" }).click();
    await page.getByRole("heading", { name: "Ports", level: 1 }).waitFor();
    await page.getByRole("link", { name: "bus", exact: true }).click();
    await page.getByRole("heading", { name: "bus", level: 1 }).waitFor();

    // The scan: what is wrong stands at its field; then who answers is found while one looks.
    const scan = page.getByRole("region", { name: "What speaks here?" });
    assert.ok(await scan.getByLabel("Addresses").isHidden(), "rates are looked for first");
    await scan.getByLabel("Look for").selectOption("modbus");
    await scan.getByLabel("Addresses").fill("all of them");
    expected.push("/scan");
    await scan.getByRole("button", { name: "Start the scan" }).click();
    await page.locator("#units-error").waitFor();
    assert.equal(await scan.getByLabel("Addresses").getAttribute("aria-invalid"), "true");
    await scan.getByLabel("Addresses").fill("1-5");
    await scan.getByRole("button", { name: "Start the scan" }).click();
    await scan.getByText("Modbus devices: under way").waitFor();
    await check("scanning");
    await scan.getByRole("heading", { name: "Address 2 answers" }).waitFor();
    await scan.getByText("Modbus devices: done").waitFor();
    await scan.getByText("reads well by eastron-sdm120", { exact: false }).waitFor();
    await scan.getByText("Lines for the config").first().click();
    await scan.getByText("unit_id = 2", { exact: false }).waitFor();
    await check("scanned");
    await shot("scan");

    // What passes over the wires, both ways.
    const trace = page.getByRole("region", { name: "What passes over it" }).first();
    await trace.getByRole("button", { name: "Look on" }).click();
    const pieces = trace.locator("li");
    await pieces.filter({ hasText: "to the device" }).first().waitFor();
    await pieces.filter({ hasText: "from the device" }).first().waitFor();
    // Unit 5 is asked for one register: 05 03 00 00 00 01.
    await trace.getByLabel("With this text").fill("05 03 00 00 00 01");
    await page.waitForFunction(() => {
        const rows = [...document.querySelectorAll("[data-trace-pieces] li")];
        return rows.length > 0 && rows.every((row) => row.classList.contains("out"));
    });
    await trace.getByLabel("With this text").fill("");
    await trace.getByLabel("Direction").selectOption("in");
    await page.waitForFunction(() => {
        const rows = [...document.querySelectorAll("[data-trace-pieces] li")];
        return rows.length > 1 && rows.every((row) => row.classList.contains("in") && row.textContent.includes("05 03 02 04 d2"));
    });
    await trace.getByLabel("Direction").selectOption("");
    await trace.getByRole("button", { name: "Hold" }).click();
    const held = await pieces.count();
    await page.waitForFunction(
        (held) => Number(document.querySelector("[data-trace-state]").textContent.match(/\d+/)[0]) > held + 4,
        held,
    );
    assert.equal(await pieces.count(), held, "what is held doesn't move");
    await check("trace");
    await shot("trace");
    const coming = page.waitForEvent("download");
    await trace.getByRole("button", { name: "Save as a file" }).click();
    const saved = await readFile(await (await coming).path(), "utf8");
    assert.match(saved, /^20\S+Z > 05 03 00 00 00 01 /m);
    assert.match(saved, /^20\S+Z < 05 03 02 04 d2 /m);
    await trace.getByRole("button", { name: "Go on" }).click();
    await trace.getByRole("button", { name: "Look on no more" }).click();
    await trace.getByText("You don't look on any more.").waitFor();

    // What was found leads to the config's form with its fields filled in.
    await page.getByRole("link", { name: "Use this …" }).first().click();
    await page.getByText("Some fields are filled in").waitFor();
    const value = (key) => page.locator(`[data-path="device.*.${key}"]`).inputValue();
    assert.deepEqual(
        [await value("name"), await value("port"), await value("unit_id")],
        ["unit-2", "bus", "2"],
    );
    assert.match(await value("profile"), /^eastron-/);
    await page.getByRole("button", { name: /Check|Validate|Look/ }).first().click();
    await page.getByText("This is a valid config.").waitFor();
    await check("filled in");
    await shot("filled");
});
