//! The names of leagues. What The Odds API calls a sport is a league of a sport at odds-api.io.

use odds::SportKey;

/// A league, by its slug and the slug of its sport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct League {
    pub(crate) sport: String,
    pub(crate) league: String,
}

/// Leagues whose keys are those of The Odds API, so that a league is called the same in every region.
const KNOWN: [(&str, &str, &str); 14] = [
    ("americanfootball_ncaaf", "american-football", "usa-ncaa"),
    ("americanfootball_nfl", "american-football", "usa-nfl"),
    ("aussierules_afl", "aussie-rules", "australia-afl"),
    ("baseball_mlb", "baseball", "usa-mlb"),
    ("basketball_euroleague", "basketball", "international-euroleague"),
    ("basketball_nba", "basketball", "usa-nba"),
    ("icehockey_nhl", "ice-hockey", "usa-nhl"),
    ("soccer_australia_aleague", "football", "australia-a-league"),
    ("soccer_epl", "football", "england-premier-league"),
    ("soccer_france_ligue_one", "football", "france-ligue-1"),
    ("soccer_germany_bundesliga", "football", "germany-bundesliga"),
    ("soccer_italy_serie_a", "football", "italy-serie-a"),
    ("soccer_spain_la_liga", "football", "spain-laliga"),
    ("tennis_atp_aus_open_singles", "tennis", "atp-australian-open"),
];

/// Returns the league with this key. The key of a league that is not among the known ones is the slug of its sport, a
/// colon and its own slug: `football:norway-eliteserien`.
pub(crate) fn league(key: &SportKey) -> Option<League> {
    let known = KNOWN.iter().find(|(known, ..)| *known == key.as_str());
    let (sport, league) = known.map(|(_, sport, league)| (*sport, *league)).or_else(|| key.as_str().split_once(':'))?;
    let is_slug = |slug: &str| {
        !slug.is_empty() && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    (is_slug(sport) && is_slug(league)).then(|| League { sport: sport.to_owned(), league: league.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_league_has_the_key_of_the_odds_api_or_its_slugs() {
        let of = |key: &str| league(&key.parse().unwrap()).map(|it| format!("{}/{}", it.sport, it.league));
        assert_eq!(of("soccer_epl").as_deref(), Some("football/england-premier-league"));
        assert_eq!(of("football:norway-eliteserien").as_deref(), Some("football/norway-eliteserien"));
        for none in ["soccer_nowhere", ":x", "football:", "Football:x", "a:b:c"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn no_league_has_two_keys() {
        for (n, (key, sport, league)) in KNOWN.iter().enumerate() {
            let same = |other: &(&str, &str, &str)| other.0 == *key || (other.1, other.2) == (*sport, *league);
            assert!(!KNOWN[n + 1..].iter().any(same), "{key}");
        }
    }
}
