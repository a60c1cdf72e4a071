// A backup is downloaded with a passphrase; on another day, after a factory reset, it is looked at and restored.

import { readFileSync } from "node:fs";
import { run } from "./harness.mjs";

await run(async ({ page, settings, check, expected, assert }) => {
    const shot = async (name) => {
        if (settings.screenshots) await page.screenshot({ path: `${settings.screenshots}/${name}.png`, fullPage: true });
    };
    const open = async () => {
        await page.getByRole("link", { name: "Config" }).click();
        await page.getByRole("link", { name: "Backup" }).click();
        await page.getByRole("heading", { name: "Download a backup" }).waitFor();
    };
    await page.goto(settings.page);
    await page.getByLabel("Claim code").fill(settings.code);
    if (settings.name) await page.getByLabel("Name").fill(settings.name);
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Claim" }).click();
    // There is no device yet: it leads to the steps of the setup.
    await page.waitForURL("**/start");
    await open();
    if (settings.phase === "make") {
        await check("backup");
        await shot("backup");
        const downloading = page.waitForEvent("download");
        await page.getByLabel("Passphrase (optional)").fill(settings.passphrase);
        await page.getByRole("button", { name: "Download" }).click();
        const download = await downloading;
        assert.match(download.suggestedFilename(), /^fieldgate-gw-\d{4}-\d\d-\d\d\.backup$/);
        await download.saveAs(settings.file);
        await page.getByText("encrypted with the passphrase").waitFor();
        await check("made");
        await shot("backup-made");
        return;
    }
    // A wrong passphrase is told, and nothing else.
    await page.getByLabel("Backup file").setInputFiles(settings.file);
    await page.getByLabel("Its passphrase").fill("not the passphrase");
    await page.getByRole("button", { name: "Look at what it would change" }).click();
    await page.getByText("the passphrase is wrong").waitFor();
    await check("a wrong passphrase");
    await page.getByLabel("Its passphrase").fill(settings.passphrase);
    await page.getByRole("button", { name: "Look at what it would change" }).click();
    await page.getByText("A backup of gw").waitFor();
    await page.locator("[data-restore]").getByText("gateway.site").first().waitFor();
    await page.getByText(settings.secret).first().waitFor();
    await page.getByText("accounts.json: another than is there").waitFor();
    assert.equal((await page.content()).includes(readFileSync(settings.canary, "utf8").trim()), false);
    await check("looked at");
    await shot("restore-look");
    await page.getByRole("button", { name: "Restore it" }).click();
    await page.getByRole("button", { name: "Yes, do it" }).click();
    // The accounts are those of the backup: whoever made the new one is nobody now.
    expected.push("status of 401");
    await page.waitForURL((url) => url.pathname === "/login", { timeout: 60_000 }).catch(async () => {
        await page.goto(`${settings.page}login`);
    });
    await page.getByLabel("Name").fill("admin");
    await page.getByLabel("Password").fill(settings.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.locator("[data-pending]").waitFor({ state: "hidden" });
    await page.goto(`${settings.page}config/history`);
    await page.getByText("restored from the backup").first().waitFor();
    await shot("restored");
});
