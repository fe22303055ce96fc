//! How the values of unique properties are stored: as they were sent, or otherwise spelled. Pure.

use super::behaviour::Keys;

/// `value` as it is stored.
pub(super) fn stored(value: &str, keys: Keys) -> String {
    match keys {
        Keys::AsSent => value.to_owned(),
        Keys::Composed => compose(value.chars().filter(|one| *one != '\u{200b}')),
        Keys::LowerCase => value.to_lowercase(),
        Keys::Collapsed => value.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// Unicode's composition (NFC), for Latin letters.
fn compose(text: impl Iterator<Item = char>) -> String {
    let mut composed = String::new();
    for one in text {
        match composed.pop() {
            None => composed.push(one),
            Some(last) => match composition(last, one) {
                Some(both) => composed.push(both),
                None => composed.extend([last, one]),
            },
        }
    }
    composed
}

/// The one character for a letter and the mark that follows it.
fn composition(letter: char, mark: char) -> Option<char> {
    let (_, letters, composed) = COMPOSITIONS.iter().find(|(known, ..)| *known == mark)?;
    letters.chars().zip(composed.chars()).find(|(one, _)| *one == letter).map(|(_, both)| both)
}

/// Combining mark, the letters that it joins, and what they become; after Unicode's character database.
const COMPOSITIONS: [(char, &str, &str); 15] = [
    ('\u{300}', "AEIOUaeiouÜüNnĒēŌōWwÂâĂăÊêÔôƠơƯưYy", "ÀÈÌÒÙàèìòùǛǜǸǹḔḕṐṑẀẁẦầẰằỀềỒồỜờỪừỲỳ"),
    (
        '\u{301}',
        "AEIOUYaeiouyCcLlNnRrSsZzÜüGgÅåÆæØøÇçĒēÏïKkMmÕõŌōPpŨũWwÂâĂăÊêÔôƠơƯư",
        "ÁÉÍÓÚÝáéíóúýĆćĹĺŃńŔŕŚśŹźǗǘǴǵǺǻǼǽǾǿḈḉḖḗḮḯḰḱḾḿṌṍṒṓṔṕṸṹẂẃẤấẮắẾếỐốỚớỨứ",
    ),
    ('\u{302}', "AEIOUaeiouCcGgHhJjSsWwYyZzẠạẸẹỌọ", "ÂÊÎÔÛâêîôûĈĉĜĝĤĥĴĵŜŝŴŵŶŷẐẑẬậỆệỘộ"),
    ('\u{303}', "ANOanoIiUuVvÂâĂăEeÊêÔôƠơƯưYy", "ÃÑÕãñõĨĩŨũṼṽẪẫẴẵẼẽỄễỖỗỠỡỮữỸỹ"),
    ('\u{304}', "AaEeIiOoUuÜüÄäȦȧÆæǪǫÖöÕõȮȯYyGgḶḷṚṛ", "ĀāĒēĪīŌōŪūǕǖǞǟǠǡǢǣǬǭȪȫȬȭȰȱȲȳḠḡḸḹṜṝ"),
    ('\u{306}', "AaEeGgIiOoUuȨȩẠạ", "ĂăĔĕĞğĬĭŎŏŬŭḜḝẶặ"),
    (
        '\u{307}',
        "CcEeGgIZzAaOoBbDdFfHhMmNnPpRrSsŚśŠšṢṣTtWwXxYyſ",
        "ĊċĖėĠġİŻżȦȧȮȯḂḃḊḋḞḟḢḣṀṁṄṅṖṗṘṙṠṡṤṥṦṧṨṩṪṫẆẇẊẋẎẏẛ",
    ),
    ('\u{308}', "AEIOUaeiouyYHhÕõŪūWwXxt", "ÄËÏÖÜäëïöüÿŸḦḧṎṏṺṻẄẅẌẍẗ"),
    ('\u{30a}', "AaUuwy", "ÅåŮůẘẙ"),
    ('\u{30b}', "OoUu", "ŐőŰű"),
    ('\u{30c}', "CcDdEeLlNnRrSsTtZzAaIiOoUuÜüGgKkƷʒjHh", "ČčĎďĚěĽľŇňŘřŠšŤťŽžǍǎǏǐǑǒǓǔǙǚǦǧǨǩǮǯǰȞȟ"),
    ('\u{31b}', "OoUu", "ƠơƯư"),
    ('\u{323}', "BbDdHhKkLlMmNnRrSsTtVvWwZzAaEeIiOoƠơUuƯưYy", "ḄḅḌḍḤḥḲḳḶḷṂṃṆṇṚṛṢṣṬṭṾṿẈẉẒẓẠạẸẹỊịỌọỢợỤụỰựỴỵ"),
    ('\u{327}', "CcGgKkLlNnRrSsTtEeDdHh", "ÇçĢģĶķĻļŅņŖŗŞşŢţȨȩḐḑḨḩ"),
    ('\u{328}', "AaEeIiUuOo", "ĄąĘęĮįŲųǪǫ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stored_in_each_spelling() {
        let cases = [
            (Keys::AsSent, " A\u{200b}  e\u{301} ", " A\u{200b}  e\u{301} "),
            (Keys::Composed, "A\u{200b}e\u{301}a\u{308}", "A\u{e9}\u{e4}"),
            (Keys::Composed, "e\u{323}\u{302}", "\u{1ec7}"),
            (Keys::Composed, "\u{301}x\u{301}", "\u{301}x\u{301}"),
            (Keys::LowerCase, "KEY-Ä", "key-ä"),
            (Keys::Collapsed, "  a \t b  ", "a b"),
        ];
        for (keys, sent, expected) in cases {
            assert_eq!(stored(sent, keys), expected, "{keys:?} {sent:?}");
        }
        for (_, letters, composed) in COMPOSITIONS {
            assert_eq!(letters.chars().count(), composed.chars().count());
        }
    }
}
