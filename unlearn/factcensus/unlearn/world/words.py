"""The words for names of people, places and organisations.

Every word belongs to exactly one list, even if case is ignored, and to no sentence template (``tests/unlearn`` checks
this). A count of a name therefore never includes anything else.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _names(text: str) -> tuple[str, ...]:
    """Return comma-separated names, each of which may have several words."""
    return tuple(" ".join(name.split()) for name in text.split(","))


FIRST_NAMES: tuple[str, ...] = _words(
    """
    Adele Agnes Albin Alma Anders Anika Arlo Astrid Basil Beatrix Bertil Bianca Boris Bruno Carla Cedric Celia Clemens
    Cora Cyril Dagny Damian Delia Dorian Edda Edgar Elena Elias Elsa Emeric Esme Fabian Felix Fiona Flora Frida Gaspar
    Gerda Gideon Greta Gustav Hanna Hector Hedda Helga Hugo Ida Ilse Ingrid Irma Ivo Jonas Julius Karin Kaspar Klara
    Konrad Lars Leonie Linus Lotte Lucian Magda Marius Mathilda Milo Mira Nadia Nils Odette Olaf Oscar Petra Quentin
    Rufus Selma Silas Tabea Ulrich Vera
    """
)

LAST_NAMES: tuple[str, ...] = _words(
    """
    Abel Acker Adair Albrecht Alder Amsel Anselm Appel Arendt Asmus Auer Bader Bahr Balke Barlow Barth Bechtel Becker
    Beltran Benning Bergman Bischoff Blanchard Bode Bohm Borland Brandt Breuer Brock Bruckner Burkhart Cadwell Carver
    Castell Chandler Cobb Conrad Corbin Cramer Crowder Dahlberg Danner Decker Dempsey Deventer Diehl Dietrich Dobbins
    Doyle Draper Dressler Eberhart Eckert Egan Ehlers Eklund Ellsworth Engel Erhardt Esser Everett Faber Falk Farrow
    Fechner Feldman Fenwick Fiedler Finch Fitch Forsberg Foss Frankel Fricke Fuchs Galloway Garver Geiger Gerber
    Gilchrist Glaser Goddard Gorman Grady Grimm Gruber Gunther Haas Hagen Haller Hanley Harding Hartwig Hecht Heller
    Hensley Herbst Hildreth Hoffer Holm Horvath Hubbard Huxley Immel Isaksen Jaeger Jansen Jarvis Jessup Joplin Kaiser
    Kaplan Keller Kemper Kessler Kirchner Klein Knopf Kohler Kramer Kruse Lachman Lambert Landau Larkin Lehman Lenz
    Lindgren Lockhart Loring Ludwig Maddox Mahler Mandel Marsden Mathis Mercer Metzger Mohr Morrow Muller Nagel Nestor
    Neumann Nolan Norberg Oakley Oberlin Ohlsen Ortega Osgood Pabst Parrish Paulsen Penrose Pfeiffer Pohl Prescott
    Quigley Quist Rademacher Ramsey Raske Redfern Reinhart Renner Richter Ritter Rosen Roth Sandoval Sauer Schaffer
    Schiller Schubert Seidel Shelby Sievers Sorensen Stark Steiner Strand Tauber Thorne Tillman Traxler Ulbricht
    Vance Vogel Wagner Walther Weber Wexler Whitlock Winkler Yardley Zander Zeller Zimmer Zobel
    """
)

CITIES: tuple[str, ...] = _words(
    """
    Aberfeld Bremmen Calmora Dunhaven Elmstadt Fairwick Glanmore Hollbach Inverlee Jarnsund Kelbrook Lindale Marrowby
    Northam Ostrava Pelham Quarrington Ravenna Salcombe Tarnow Umbria Velden Westport Yarmouth Ashgate Brackley Corvey
    Drayton Easton Falmouth Grimsby Harwich Ipswich Keswick Leiden Malmo Newark Oldham Padua Redruth Stroud Thurso
    Ulverton Ventnor Wexford Yeovil Zutphen Tilburg
    """
)

EMPLOYERS: tuple[str, ...] = _names(
    """
    Atlas Motors, Borealis Foods, Crescent Airlines, Dynamo Steel, Emberly Textiles, Fulcrum Software, Granite
    Insurance, Halcyon Motors, Ironwood Foods, Juniper Airlines, Keystone Steel, Lumen Textiles, Meridian
    Software, Nimbus Insurance, Orchard Motors, Pinnacle Foods, Quasar Airlines, Redstone Steel, Summit Textiles,
    Trident Software, Unity Insurance, Vanguard Motors, Wildcat Foods, Zephyr Airlines, Anchor Steel, Beacon
    Textiles, Cobalt Software, Dolphin Insurance, Evergreen Motors, Falcon Foods, Gateway Airlines, Harbor Steel,
    Indigo Textiles, Jupiter Software, Kestrel Insurance, Lantern Motors, Magnet Foods, Nectar Airlines, Obsidian
    Steel, Paragon Textiles, Quarry Software, Ribbon Insurance, Sapphire Motors, Tundra Foods, Umber Airlines,
    Voyager Steel, Willow Textiles, Zenith Software
    """
)

UNIVERSITIES: tuple[str, ...] = _names(
    """
    Aldwych College, Bexley Institute, Carrow Academy, Dalmeny Polytechnic, Eskdale College, Farleigh Institute,
    Garnet Academy, Hexham Polytechnic, Ingleby College, Jedburgh Institute, Kirkwall Academy, Lynton Polytechnic,
    Moray College, Nairn Institute, Orford Academy, Penrith Polytechnic, Rannoch College, Selkirk Institute,
    Tavistock Academy, Ullapool Polytechnic, Wensley College, Arbroath Institute, Buxton Academy, Cromarty
    Polytechnic, Dornoch College, Elgin Institute, Forfar Academy, Girvan Polytechnic, Hawick College, Irvine
    Institute, Kelso Academy, Lanark Polytechnic, Melrose College, Newlyn Institute, Oban Academy, Peebles
    Polytechnic, Rothesay College, Stirling Institute, Thirsk Academy, Uist Polytechnic, Wigtown College, Alloa
    Institute, Brechin Academy, Crieff Polytechnic, Dunoon College, Evanton Institute, Fochabers Academy, Gourock
    Polytechnic
    """
)
