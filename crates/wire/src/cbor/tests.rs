use super::*;
use crate::schema::{Kind, Member, Schema};
use crate::value::{self, Blob, EpochMillis, Shape, Slot, ValueRef};

#[derive(Debug, Default, PartialEq, Clone)]
struct Thing {
    name: Option<String>,
    is_on: Option<bool>,
    size: Option<i32>,
    far: Option<i64>,
    share: Option<f64>,
    at: Option<EpochMillis>,
    bytes: Option<Blob>,
    inner: Option<Vec<Thing>>,
}

static MEMBERS: [Member; 8] = [
    Member::same("name", &crate::schema::STRING),
    Member::same("isOn", &crate::schema::BOOLEAN),
    Member::same("size", &crate::schema::INTEGER),
    Member::same("far", &crate::schema::LONG),
    Member::same("share", &crate::schema::DOUBLE),
    Member::same("at", &crate::schema::TIMESTAMP),
    Member::same("bytes", &crate::schema::BLOB),
    Member::same("inner", &INNER),
];
static INNER: Schema = Schema::plain("Inner", Kind::List(&THING, "member"));
static THING: Schema = Schema::plain("Thing", Kind::Structure(&MEMBERS));

impl Shape for Thing {
    fn schema(&self) -> &'static Schema {
        &THING
    }

    fn get(&self, member: usize) -> Option<ValueRef<'_>> {
        match member {
            0 => value::get(&self.name),
            1 => value::get(&self.is_on),
            2 => value::get(&self.size),
            3 => value::get(&self.far),
            4 => value::get(&self.share),
            5 => value::get(&self.at),
            6 => value::get(&self.bytes),
            7 => value::get(&self.inner),
            _ => None,
        }
    }

    fn slot(&mut self, member: usize) -> Option<Slot<'_>> {
        match member {
            0 => value::slot(&mut self.name),
            1 => value::slot(&mut self.is_on),
            2 => value::slot(&mut self.size),
            3 => value::slot(&mut self.far),
            4 => value::slot(&mut self.share),
            5 => value::slot(&mut self.at),
            6 => value::slot(&mut self.bytes),
            7 => value::slot(&mut self.inner),
            _ => None,
        }
    }
}

fn read(bytes: &[u8]) -> Result<Thing, String> {
    let mut thing = Thing::default();
    decode(bytes, &mut thing).map_err(|fault| fault.message)?;
    Ok(thing)
}

fn full() -> Thing {
    Thing {
        name: Some("Größe".into()),
        is_on: Some(true),
        size: Some(i32::MIN),
        far: Some(i64::MAX),
        share: Some(-0.1),
        at: Some(EpochMillis(1_795_231_680_123)),
        bytes: Some(Blob(vec![0, 255])),
        inner: Some(vec![Thing::default(), Thing { far: Some(-1), ..Thing::default() }]),
    }
}

#[test]
fn what_is_written_is_read() {
    let mut many = full();
    many.inner = Some((0..300).map(|i| Thing { size: Some(i * 1000), ..Thing::default() }).collect());
    for thing in [Thing::default(), full(), many] {
        let mut bytes = Vec::new();
        encode(&thing, &mut bytes);
        assert_eq!(read(&bytes).unwrap(), thing);
    }
}

#[test]
fn every_form_of_a_value_is_read() {
    let table: &[(&[u8], Thing)] = &[
        (b"", Thing::default()),
        (b"\xa0", Thing::default()),
        // A map and a text without lengths, the text in two pieces.
        (b"\xbf\x64name\x7f\x61a\x62bc\xff\xff", Thing { name: Some("abc".into()), ..Thing::default() }),
        (b"\xa1\x64name\xf6", Thing::default()),
        (b"\xa1\x64name\xf7", Thing::default()),
        (b"\xa1\x64size\x39\x01\xf3", Thing { size: Some(-500), ..Thing::default() }),
        (b"\xa1\x65share\x18\x64", Thing { share: Some(100.0), ..Thing::default() }),
        (b"\xa1\x65share\xf9\x3e\x00", Thing { share: Some(1.5), ..Thing::default() }),
        (b"\xa1\x65share\xf9\x80\x01", Thing { share: Some(-(2_f64.powi(-24))), ..Thing::default() }),
        (b"\xa1\x65share\xfa\x47\xc3\x50\x00", Thing { share: Some(100_000.0), ..Thing::default() }),
        (
            b"\xa1\x62at\xc1\x1a\x6b\x01\x0f\xc0",
            Thing { at: Some(EpochMillis(1_795_231_680_000)), ..Thing::default() },
        ),
        // Members that are not known: of every kind.
        (
            b"\xa2\x61x\xbf\x61y\x9f\x01\x20\x41a\xc1\x00\xf9\x00\x00\xff\xff\x64isOn\xf4",
            Thing { is_on: Some(false), ..Thing::default() },
        ),
    ];
    for (bytes, thing) in table {
        assert_eq!(read(bytes).as_ref(), Ok(thing), "{bytes:02x?}");
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let deep = [b"\xa1\x61x".to_vec(), vec![0x81; 100], vec![0x00]].concat();
    let table: &[(&[u8], &str)] = &[
        (b"\x80", "a structure should be here (byte 1)"),
        (b"\xa1\x64name", "it ends early"),
        (b"\xa1\x64name\x7b\xff\xff\xff\xff\xff\xff\xff\xffa", "it ends early"),
        (b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "it ends early"),
        (b"\xa1\x64name\x61\xff", "a string is not UTF-8"),
        (b"\xa1\x64name\x01", "a string should be here"),
        (b"\xa1\x64size\x1a\x80\x00\x00\x00", "an integer has more than 32 bits"),
        (b"\xa1\x63far\x1b\x80\x00\x00\x00\x00\x00\x00\x00", "an integer should be here"),
        (b"\xa1\x62at\x00", "a time should be here"),
        (b"\xa1\x62at\xc1\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00", "a time is out of range"),
        (b"\xa1\x64isOn\x01", "a boolean should be here"),
        (b"\xa1\x61x\x1c", "an item of no known kind"),
        (b"\xa1\x61x\x7f\x7f\xff\xff", "pieces within pieces"),
        (b"\xa0\xa0", "something follows the request"),
        (&deep, "it nests too deeply"),
    ];
    for (bytes, why) in table {
        let told = read(bytes).unwrap_err();
        assert!(told.contains(why), "{bytes:02x?}: {told}");
    }
    // Whatever is cut off is noticed.
    let mut bytes = Vec::new();
    encode(&full(), &mut bytes);
    for n in 1..bytes.len() {
        assert!(read(&bytes[..n]).is_err(), "{n}");
    }
}
