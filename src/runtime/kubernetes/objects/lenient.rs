//! Reading values that may be of any type: one of another type than is meant counts as absent.
//!
//! No value of any type or depth fails, but for text that is no JSON: what is not meant is skipped without recursion
//! (`IgnoredAny`), so serde_json's limit of depth is not reached by it.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::MAX_WORDS;

/// The most bytes of a list's items as they lie in memory, without what they point to. `{}` is two bytes in an object, and can be
/// a hundred here; the API server takes objects of 1.5 MiB.
const MAX_LIST: usize = 512 * 1024;

/// Made from some types of JSON values, and from no others.
pub(super) trait Lenient: Sized {
    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_boolean(_: bool) -> Option<Self> {
        None
    }

    fn from_integer(_: i64) -> Option<Self> {
        None
    }

    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn from_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Reads a member (`deserialize_with`): the default stands for a value of another type.
pub(super) fn read<'de, T: Lenient + Default, D: Deserializer<'de>>(value: D) -> Result<T, D::Error> {
    value.deserialize_any(Any(PhantomData)).map(Option::unwrap_or_default)
}

/// The same for what people read, which is cut: whoever writes a status can write as much as an object can have.
pub(super) fn words<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    let mut words: Option<String> = read(value)?;
    if let Some(words) = &mut words
        && let Some((end, _)) = words.char_indices().nth(MAX_WORDS)
    {
        words.truncate(end);
        words.shrink_to_fit();
    }
    Ok(words)
}

/// Reads the value of a member whose name was read, for those that read an object member by member.
pub(super) const fn value<T>() -> Any<T> {
    Any(PhantomData)
}

/// A value of any type, which is a `T` or is skipped.
pub(super) struct Any<T>(PhantomData<T>);

impl<'de, T: Lenient> DeserializeSeed<'de> for Any<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Option<T>, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de, T: Lenient> Visitor<'de> for Any<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<T>, E> {
        Ok(T::from_boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Option<T>, E> {
        Ok(T::from_integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<T>, E> {
        Ok(i64::try_from(value).ok().and_then(T::from_integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, value: &str) -> Result<Option<T>, E> {
        Ok(T::from_text(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Option<T>, A::Error> {
        T::from_object(object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Option<T>, A::Error> {
        T::from_array(array)
    }
}

impl Lenient for String {
    fn from_text(value: &str) -> Option<Self> {
        Some(value.to_owned())
    }
}

impl Lenient for bool {
    fn from_boolean(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Lenient for i64 {
    fn from_integer(value: i64) -> Option<Self> {
        Some(value)
    }
}

impl Lenient for jiff::Timestamp {
    fn from_text(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

impl<T: Lenient> Lenient for Option<T> {
    fn from_text(value: &str) -> Option<Self> {
        T::from_text(value).map(Some)
    }

    fn from_boolean(value: bool) -> Option<Self> {
        T::from_boolean(value).map(Some)
    }

    fn from_integer(value: i64) -> Option<Self> {
        T::from_integer(value).map(Some)
    }

    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        T::from_object(object).map(|value| value.map(Some))
    }

    fn from_array<'de, A: SeqAccess<'de>>(array: A) -> Result<Option<Self>, A::Error> {
        T::from_array(array).map(|value| value.map(Some))
    }
}

impl<T: Lenient> Lenient for Vec<T> {
    fn from_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        let mut all = Self::new();
        let most = MAX_LIST / size_of::<T>().max(1);
        while let Some(value) = array.next_element_seed(Any(PhantomData))? {
            if all.len() < most {
                all.extend(value);
            }
        }
        // Most have one item, and many are kept: room for four would be most of an object's size.
        all.shrink_to_fit();
        Ok(Some(all))
    }
}

impl<T: Lenient> Lenient for BTreeMap<String, T> {
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut all = Self::new();
        while let Some(key) = object.next_key::<String>()? {
            if let Some(value) = object.next_value_seed(Any(PhantomData))? {
                all.insert(key, value);
            }
        }
        Ok(Some(all))
    }
}

/// Makes structures, whose members are all read by [`read`], from objects alone.
macro_rules! from_object {
    ($($type:ty),+) => {
        $(impl $crate::runtime::kubernetes::objects::lenient::Lenient for $type {
            fn from_object<'de, A: serde::de::MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
                serde::Deserialize::deserialize(serde::de::value::MapAccessDeserializer::new(object)).map(Some)
            }
        })+
    };
}

pub(super) use from_object;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Inner {
        #[serde(default, deserialize_with = "read")]
        number: Option<i64>,
    }

    #[derive(Deserialize)]
    struct Told {
        #[serde(default, deserialize_with = "words")]
        message: Option<String>,
    }

    #[test]
    fn words_are_cut() {
        let told =
            |message: &str| serde_json::from_str::<Told>(&format!(r#"{{"message":{message}}}"#)).unwrap().message;
        let most = "é".repeat(MAX_WORDS);
        assert_eq!(told(&format!("\"{most}\"")).as_deref(), Some(&*most));
        assert_eq!(told(&format!("\"{most}{most}\"")).as_deref(), Some(&*most));
        assert_eq!([told("5"), told("null")], [None, None]);
        assert_eq!(serde_json::from_str::<Told>("{}").unwrap().message, None);
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Outer {
        #[serde(default, deserialize_with = "read")]
        text: Option<String>,
        #[serde(default, deserialize_with = "read")]
        list: Vec<String>,
        #[serde(default, deserialize_with = "read")]
        map: BTreeMap<String, String>,
        #[serde(default, deserialize_with = "read")]
        inner: Inner,
        #[serde(default, deserialize_with = "read")]
        flag: bool,
    }

    from_object!(Inner);

    #[test]
    fn what_is_meant_is_read() {
        let text =
            r#"{"text": "a", "list": ["b", "c"], "map": {"k": "v"}, "inner": {"number": 5}, "flag": true, "x": {}}"#;
        let read: Outer = serde_json::from_str(text).unwrap();
        let expected = Outer {
            text: Some("a".to_owned()),
            list: vec!["b".to_owned(), "c".to_owned()],
            map: [("k".to_owned(), "v".to_owned())].into(),
            inner: Inner { number: Some(5) },
            flag: true,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn every_other_type_counts_as_absent() {
        for value in ["null", "true", "5", "-5", "18446744073709551615", "1.5", "1e400", "\"x\"", "[[1], {\"a\": []}]"]
        {
            let text = format!(r#"{{"inner": {value}, "map": {value}}}"#);
            let read = serde_json::from_str::<Outer>(&text);
            // The API server writes no such number; text that is no JSON is another matter.
            assert!(read.is_ok() || value == "1e400", "{value}");
            assert!(read.is_err() || read.unwrap() == Outer::default(), "{value}");
        }
        let read: Outer =
            serde_json::from_str(r#"{"text": {"a": 1}, "list": "x", "flag": "true", "inner": {"number": "5"}}"#)
                .unwrap();
        assert_eq!(read, Outer::default());
    }

    #[test]
    fn what_is_odd_within_a_list_or_a_map_is_left_out() {
        let read: Outer =
            serde_json::from_str(r#"{"list": ["a", 1, null, ["x"], "b"], "map": {"a": "1", "b": 2}}"#).unwrap();
        assert_eq!((read.list.join(","), read.map.len()), ("a,b".to_owned(), 1));
    }

    #[test]
    fn a_list_is_as_long_as_its_room() {
        let text = format!(r#"{{"list": ["a"{}], "text": "x"}}"#, r#","""#.repeat(500_000));
        let read: Outer = serde_json::from_str(&text).unwrap();
        assert_eq!((read.list.len(), read.list[0].as_str()), (MAX_LIST / size_of::<String>(), "a"));
        assert_eq!(read.text.as_deref(), Some("x"), "what follows is read");
    }

    #[test]
    fn no_depth_is_too_deep() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for member in ["text", "list", "map", "inner", "flag", "other"] {
            let text = format!(r#"{{"{member}": {deep}}}"#);
            assert_eq!(serde_json::from_str::<Outer>(&text).unwrap(), Outer::default(), "{member}");
        }
        let text = format!(r#"{{"list": [{deep}, "a"], "inner": {{"number": {deep}}}}}"#);
        assert_eq!(serde_json::from_str::<Outer>(&text).unwrap().list, ["a"]);
    }
}
