//! What the kernel tells of the machine: model, temperature, throttling, memory, the wear of its flash. What it doesn't tell
//! is left out.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

/// Zones and disks that are told of; a board has a few.
const MANY_MAX: usize = 16;

/// The longest file that is read, in bytes: all are a line or two.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The bits of the Raspberry Pi's `get_throttled` (its documentation, "vcgencmd get_throttled").
const THROTTLED: &[(u32, &str)] = &[
    (0, "under_voltage"),
    (1, "frequency_capped"),
    (2, "throttled"),
    (3, "hot"),
    (16, "under_voltage_before"),
    (17, "frequency_capped_before"),
    (18, "throttled_before"),
    (19, "hot_before"),
];

/// Everything, of the machine whose files are below `root`. Reads files: not for a thread that others wait for.
#[must_use]
pub fn look(root: &Path) -> Json {
    let memory = text(&root.join("proc/meminfo")).unwrap_or_default();
    json!({
        "model": text(&root.join("proc/device-tree/model")).map(|model| model.trim_matches(['\0', '\n']).to_owned()),
        "kernel": text(&root.join("proc/sys/kernel/osrelease")),
        "system": text(&root.join("etc/os-release")).and_then(|text| pretty_name(&text)),
        "load": text(&root.join("proc/loadavg")).and_then(|load| load.split(' ').next()?.parse::<f64>().ok()),
        "machine_up_s": text(&root.join("proc/uptime")).and_then(|up| up.split(' ').next()?.split('.').next()?.parse::<u64>().ok()),
        "memory_bytes": kibibytes(&memory, "MemTotal:"),
        "memory_free_bytes": kibibytes(&memory, "MemAvailable:"),
        "temperatures": temperatures(root),
        "throttled": throttled(root),
        "disks": disks(root),
    })
}

fn text(path: &Path) -> Option<String> {
    let bytes = super::files::read_limited(path, FILE_BYTES_MAX).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn pretty_name(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The entries of a folder, sorted.
fn entries(folder: &Path) -> Vec<(String, std::path::PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut all: Vec<_> =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    all.sort();
    all
}

/// Millidegrees of the zones (Documentation/driver-api/thermal/sysfs-api.rst).
fn temperatures(root: &Path) -> Vec<Json> {
    let zones = entries(&root.join("sys/class/thermal")).into_iter();
    let one = |(name, path): (String, std::path::PathBuf)| {
        let millidegrees: i32 = text(&path.join("temp"))?.parse().ok()?;
        let kind = text(&path.join("type")).unwrap_or(name);
        Some(json!({"name": kind, "celsius": f64::from(millidegrees / 100) / 10.0}))
    };
    zones.filter(|(name, _)| name.starts_with("thermal_zone")).filter_map(one).take(MANY_MAX).collect()
}

/// What a Raspberry Pi's firmware says of its power: the flags that are set. Null on other boards.
fn throttled(root: &Path) -> Json {
    let path = root.join("sys/devices/platform/soc/soc:firmware/get_throttled");
    let bits = text(&path).and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    bits.map_or(Json::Null, |bits| {
        THROTTLED.iter().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, flag)| json!(flag)).collect()
    })
}

/// Disks that tell of their wear: eMMC and newer SD cards (JESD84-B51, `DEVICE_LIFE_TIME_EST`, `PRE_EOL_INFO`).
fn disks(root: &Path) -> Vec<Json> {
    let one = |(name, path): (String, std::path::PathBuf)| {
        let device = path.join("device");
        let life = text(&device.join("life_time"));
        let mut disk = Map::new();
        disk.insert("name".into(), json!(name));
        disk.insert(
            "model".into(),
            json!(text(&device.join("name")).or_else(|| text(&device.join("model")))?),
        );
        let sectors: Option<u64> = text(&path.join("size")).and_then(|size| size.parse().ok());
        disk.insert("bytes".into(), json!(sectors.map(|sectors| sectors.saturating_mul(512))));
        disk.insert("worn_percent".into(), json!(life.as_deref().and_then(worn_percent)));
        disk.insert("spare".into(), json!(text(&device.join("pre_eol_info")).and_then(|eol| spare(&eol))));
        Some(Json::Object(disk))
    };
    entries(&root.join("sys/block")).into_iter().filter_map(one).take(MANY_MAX).collect()
}

/// "0x01 0x03": tenths of its life that either kind of cells has used at most; the worse counts. 0 says nothing.
fn worn_percent(life: &str) -> Option<u8> {
    let tenths =
        life.split_whitespace().filter_map(|part| u8::from_str_radix(part.trim_start_matches("0x"), 16).ok());
    tenths.filter(|tenths| (1..=11).contains(tenths)).max().map(|tenths| (tenths * 10).min(100))
}

/// How much of the spare blocks is left.
fn spare(eol: &str) -> Option<&'static str> {
    match u8::from_str_radix(eol.trim_start_matches("0x"), 16).ok()? {
        1 => Some("normal"),
        2 => Some("warning"),
        3 => Some("urgent"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_told_and_the_rest_left_out() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let nothing = look(root.path());
        assert_eq!((&nothing["temperatures"], &nothing["throttled"]), (&json!([]), &Json::Null));
        put("sys/class/thermal/thermal_zone0/temp", "48312\n");
        put("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        put("sys/class/thermal/cooling_device0/type", "fan\n");
        put("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
        put("sys/block/mmcblk0/size", "62333952\n");
        put("sys/block/mmcblk0/device/name", "SC32G\n");
        put("sys/block/mmcblk0/device/life_time", "0x02 0x08\n");
        put("sys/block/mmcblk0/device/pre_eol_info", "0x02\n");
        put("sys/block/loop0/size", "0\n");
        put("proc/meminfo", "MemTotal:        1000 kB\nMemAvailable:     400 kB\n");
        put("proc/device-tree/model", "Raspberry Pi 3\0");
        put("etc/os-release", "NAME=x\nPRETTY_NAME=\"Debian 12\"\n");
        let all = look(root.path());
        assert_eq!(all["temperatures"], json!([{"name": "cpu-thermal", "celsius": 48.3}]));
        let flags = ["under_voltage", "throttled", "under_voltage_before", "throttled_before"];
        assert_eq!(all["throttled"], json!(flags));
        let disk = json!({"name": "mmcblk0", "model": "SC32G", "bytes": 31_914_983_424_u64, "worn_percent": 80, "spare": "warning"});
        assert_eq!(all["disks"], json!([disk]));
        assert_eq!((&all["memory_bytes"], &all["memory_free_bytes"]), (&json!(1_024_000), &json!(409_600)));
        assert_eq!((&all["model"], &all["system"]), (&json!("Raspberry Pi 3"), &json!("Debian 12")));
    }

    #[test]
    fn a_card_that_says_nothing_of_its_wear_has_none() {
        for (life, expected) in
            [("0x00 0x00", None), ("0x01 0x01", Some(10)), ("0x0b 0x01", Some(100)), ("", None), ("x", None)]
        {
            assert_eq!(worn_percent(life), expected, "{life}");
        }
    }
}
