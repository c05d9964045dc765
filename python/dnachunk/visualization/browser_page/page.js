"use strict";
// The page that dnachunk.browse writes: igv.js with tracks that read tokens from typed arrays, and the panel.
// Positions are 0-based, ends are the base after the last.

const data = JSON.parse(document.getElementById("data").textContent);
const page = {
  browser: null, records: [], recordsByName: new Map(), tokenizers: [], regions: [],
  motif: "", sites: [], motifTrack: Promise.resolve(),
};

/* What the page holds */

async function unpacked(text) {
  const packed = atob(text), bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const textOf = async (text) => new TextDecoder().decode(await unpacked(text));

/** The tokens of one record, in order. */
class Tokens {
  constructor(gaps, lengths) {
    this.starts = new Int32Array(lengths.length);
    this.ends = new Int32Array(lengths.length);
    let place = 0;
    for (let i = 0; i < lengths.length; i++) {
      this.starts[i] = place + gaps[i];
      this.ends[i] = place = this.starts[i] + lengths[i];
    }
  }

  /** Index of the first token that ends behind a base, which is the base's if it has one. */
  first(bp) {
    let low = 0, high = this.ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ends[middle] > bp) high = middle; else low = middle + 1;
    }
    return low;
  }

  /** Index of the base's token, -1 without. */
  at(bp) {
    const index = this.first(bp);
    return index < this.starts.length && this.starts[index] <= bp ? index : -1;
  }

  /** Indices ``[first, last)`` of the tokens that have a base from ``start`` to ``end``. */
  touching(start, end) {
    const first = this.first(start);
    let last = this.first(end);
    if (last < this.starts.length && this.starts[last] < end) last++;
    return [first, Math.max(first, last)];
  }

  /** How many tokens lie between two bases, of those that are cut their part. */
  between(start, end) {
    const before = (bp) => {
      const index = this.first(bp);
      if (index === this.starts.length || this.starts[index] >= bp) return index;
      return index + (bp - this.starts[index]) / (this.ends[index] - this.starts[index]);
    };
    return before(end) - before(start);
  }
}

async function readTokens(packed) {
  const tokens = new Tokens(
    new Uint32Array(await unpacked(packed.gaps)), new Uint32Array(await unpacked(packed.lengths)));
  if (packed.experts) {
    tokens.experts = new Int16Array(await unpacked(packed.experts));
    tokens.scores = new Uint16Array(await unpacked(packed.scores));
    tokens.reads = new Int32Array(await unpacked(packed.reads));
    tokens.weights = new Uint16Array(await unpacked(packed.weights));
    tokens.taps = packed.taps;
  }
  return tokens;
}

/** Stretches ``[start, end]`` where a letter passes a test. */
function stretches(record, test) {
  const found = [], { sequence, sequenceStart } = record;
  let start = -1;
  for (let i = record.start - sequenceStart; i <= record.end - sequenceStart; i++) {
    const passes = i < record.end - sequenceStart && test(sequence.charCodeAt(i));
    if (passes && start < 0) start = i;
    if (!passes && start >= 0) {
      found.push([start + sequenceStart, i + sequenceStart]);
      start = -1;
    }
  }
  return found;
}

/** The union of stretches. */
function joined(parts) {
  const found = [];
  for (const [start, end] of [...parts].sort((one, other) => one[0] - other[0])) {
    const last = found[found.length - 1];
    if (last && start <= last[1]) last[1] = Math.max(last[1], end); else found.push([start, end]);
  }
  return found;
}

/** What lies in both of two lists of stretches, each in order and without overlaps. */
function inBoth(some, others) {
  const found = [];
  for (let i = 0, j = 0; i < some.length && j < others.length;) {
    const start = Math.max(some[i][0], others[j][0]), end = Math.min(some[i][1], others[j][1]);
    if (start < end) found.push([start, end]);
    if (some[i][1] < others[j][1]) i++; else j++;
  }
  return found;
}

/** What lies between stretches. */
function outside(some, start, end) {
  const found = [];
  for (const [first, last] of some) {
    if (start < first) found.push([start, first]);
    start = last;
  }
  if (start < end) found.push([start, end]);
  return found;
}

const complement = Object.fromEntries([..."ACGTRYSWKMBDHVN"].map((letter, i) => [letter, "TGCAYRSWMKVHDBN"[i]]));
const reversed = (letters) => [...letters.toUpperCase()].reverse().map((letter) => complement[letter]).join("");
const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const place = (record, start, end) => `${record.name}:${number(start + 1)}-${number(end)}`;
const recordOf = (name) => page.recordsByName.get(name);

function escaped(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (letter) => names[letter]);
}

/** Rows of a popup, which igv.js shows as HTML. */
const rows = (pairs) => Object.entries(pairs).map(([name, value]) => ({ name: escaped(name), value: escaped(value) }));

/* Tracks */

const TEXT_FONT = "11px ui-monospace, monospace";

/** Where tokens are too small to be seen, bars of bases per token. */
function bars(record, tokens, start, end, width) {
  const found = [];
  for (let bin = Math.floor(start / width) * width; bin < end; bin += width) {
    const first = Math.max(bin, record.start), last = Math.min(bin + width, record.end);
    const count = first < last ? tokens.between(first, last) : 0;
    if (count > 0) found.push({ chr: record.name, start: first, end: last, value: (last - first) / count });
  }
  return found;
}

function tokenOf(record, tokens, index) {
  const start = tokens.starts[index], end = tokens.ends[index];
  const letters = record.sequence.slice(start - record.sequenceStart, end - record.sequenceStart);
  return { chr: record.name, start, end, index, name: letters.toUpperCase() };
}

function tokenRows(tokenizer, record, tokens, token) {
  const pairs = { Tokenizer: tokenizer.name };
  if (tokenizer.stage) pairs.Stage = tokenizer.stage;
  pairs.Token = token.name;
  pairs.Length = `${number(token.end - token.start)} bp`;
  pairs.Location = place(record, token.start, token.end);
  if (tokens.experts) {
    const expert = tokens.experts[token.index];
    pairs.Expert = expert < 0 ? "none" : String(expert);
    if (expert >= 0) pairs["Its probability"] = number(tokens.scores[token.index] / 1000, 3);
  }
  return pairs;
}

/** Asks of a track's place in the page what igv.js asks of a track's features. */
class OwnTrack extends igv.TrackBase {
  init(config) {
    super.init(config);
    this.tokenizer = page.tokenizers[config.tokenizer];
    this.resolutionAware = true;
  }

  found(name) {
    const record = recordOf(name);
    return record ? { record, tokens: this.tokenizer.records[record.index] } : null;
  }

  pairsAt(click) {
    const found = this.found(click.referenceFrame.chr);
    const index = found ? found.tokens.at(Math.floor(click.genomicLocation)) : -1;
    if (index < 0) return null;
    return tokenRows(this.tokenizer, found.record, found.tokens, tokenOf(found.record, found.tokens, index));
  }

  popupData(click) {
    const pairs = this.pairsAt(click);
    return pairs ? rows(pairs) : [];
  }

  hoverText(click) {
    const pairs = this.pairsAt(click);
    return pairs ? Object.entries(pairs).map(([name, value]) => `${name}: ${value}`).join("\n") : "";
  }
}

class TokenTrack extends OwnTrack {
  get isOverview() {
    return this.shownBpPerPixel * 2.5 > this.tokenizer.meanBp;
  }

  async getFeatures(chr, start, end, bpPerPixel) {
    this.shownBpPerPixel = bpPerPixel;
    const found = this.found(chr);
    if (!found) return [];
    if (this.isOverview) return bars(found.record, found.tokens, start, end, Math.max(1, Math.round(3 * bpPerPixel)));
    const [first, last] = found.tokens.touching(start, end), features = [];
    for (let index = first; index < last; index++) features.push(tokenOf(found.record, found.tokens, index));
    return features;
  }

  draw({ features, context, bpStart, bpPerPixel, pixelWidth, pixelHeight }) {
    const [dark, light] = this.tokenizer.colors, top = 20, height = pixelHeight - top - 4;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, pixelWidth, pixelHeight);
    context.font = TEXT_FONT;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const letter = context.measureText("A").width;
    for (const feature of features) {
      const left = (feature.start - bpStart) / bpPerPixel, right = (feature.end - bpStart) / bpPerPixel;
      if (right < 0 || left > pixelWidth) continue;
      if (feature.value !== undefined) {
        const tall = Math.max(1, Math.min(1, feature.value / (2 * this.tokenizer.meanBp)) * height);
        context.fillStyle = dark;
        context.fillRect(left, top + height - tall, right - left, tall);
        continue;
      }
      const gap = right - left > 6 ? 1 : 0;
      context.fillStyle = feature.index % 2 ? light : dark;
      context.fillRect(left, top, right - left - gap, height);
      if (feature.name.length * letter + 2 <= right - left) {
        context.fillStyle = "#111";
        context.fillText(feature.name, (left + right) / 2, top + height / 2 + 1);
      }
    }
  }

  pairsAt(click) {
    const bar = this.isOverview &&
      click.viewport.cachedFeatures.find(({ start, end }) => start <= click.genomicLocation && click.genomicLocation < end);
    if (!bar) return super.pairsAt(click);
    return {
      Tokenizer: this.tokenizer.name,
      "Bases per token": number(bar.value, 2),
      Location: place(recordOf(bar.chr), bar.start, bar.end),
    };
  }
}

/** Of each token of MxDNA lines to where its taps read, the darker the more they weigh. */
class ReadTrack extends OwnTrack {
  async getFeatures(chr, start, end) {
    const found = this.found(chr);
    if (!found) return [];
    const { record, tokens } = found, [first, last] = tokens.touching(start, end), features = [];
    for (let index = first; index < last; index++) {
      features.push({ ...tokenOf(record, tokens, index), reads: this.readsOf(tokens, index) });
    }
    return features;
  }

  readsOf({ reads, weights, taps }, index) {
    const found = [];
    for (let tap = index * taps; tap < (index + 1) * taps; tap++) {
      const isOutside = reads[tap] === -2147483648;
      found.push({ bp: isOutside ? NaN : reads[tap] / 100, weight: weights[tap] / 1000 });
    }
    return found;
  }

  draw({ features, context, bpStart, bpPerPixel, pixelWidth, pixelHeight }) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, pixelWidth, pixelHeight);
    const x = (bp) => (bp - bpStart) / bpPerPixel, top = 22, bottom = pixelHeight - 6;
    for (const { start, end, index, reads } of features) {
      const middle = x((start + end) / 2);
      context.fillStyle = context.strokeStyle = this.tokenizer.line;
      context.globalAlpha = 1;
      context.fillRect(x(start) + 0.5, top - 3, Math.max(1, x(end) - x(start) - 1), 3);
      for (const { bp, weight } of reads) {
        if (Number.isNaN(bp)) continue;
        context.globalAlpha = Math.min(1, 0.15 + 0.85 * weight);
        context.beginPath();
        context.moveTo(middle, top);
        context.lineTo(x(bp + 0.5), bottom);
        context.stroke();
        context.fillRect(x(bp + 0.5) - 1.5, bottom - 1.5, 3, 3);
      }
    }
    context.globalAlpha = 1;
  }

  pairsAt(click) {
    const pairs = super.pairsAt(click), found = this.found(click.referenceFrame.chr);
    if (!pairs) return null;
    this.readsOf(found.tokens, found.tokens.at(Math.floor(click.genomicLocation))).forEach(({ bp, weight }, tap) => {
      pairs[`Tap ${tap + 1}`] = Number.isNaN(bp) ? "outside" : `reads at ${number(bp + 1, 2)}, weight ${number(weight, 3)}`;
    });
    return pairs;
  }
}

igv.registerTrackClass("dnachunk-tokens", TokenTrack);
igv.registerTrackClass("dnachunk-reads", ReadTrack);

/** Boundary probabilities as igv.js's own signal tracks take them. */
function probabilitySource(records) {
  return {
    async getFeatures({ chr, start, end, bpPerPixel }) {
      const record = recordOf(chr);
      if (!record) return [];
      const values = records[record.index], found = [];
      const width = Math.max(1, Math.round(2 * bpPerPixel));
      const last = Math.min(end, record.end);
      for (let bin = Math.max(record.start, Math.floor(start / width) * width); bin < last; bin += width) {
        let sum = 0, count = 0;
        const stop = Math.min(bin + width, record.end);
        for (let bp = bin; bp < stop; bp++) {
          const value = values[bp - record.start];
          if (value < 65535) { sum += value; count++; }
        }
        if (count) found.push({ chr, start: bin, end: stop, value: sum / count / 65534 });
      }
      return found;
    },
  };
}

const KIND_COLORS = ["#4d4d4d", "#0072b2", "#b35900", "#007a5a", "#a1477f", "#5a5a9c"];

function annotationTrack(annotation, features) {
  const kinds = [...new Set(features.map(({ kind }) => kind))].sort();
  for (const feature of features) {
    feature.color = KIND_COLORS[kinds.indexOf(feature.kind) % KIND_COLORS.length];
    feature.popupData = () => rows({
      ...(feature.name ? { Name: feature.name } : {}),
      Kind: feature.kind,
      Location: place(recordOf(feature.chr), feature.start, feature.end) +
        (feature.strand === "." ? "" : ` (${feature.strand})`),
    });
  }
  return {
    type: "annotation", name: escaped(annotation.name), features, displayMode: annotation.isFlat ? "COLLAPSED" : "EXPANDED",
    ...(annotation.isFlat ? { height: 40 } : { autoHeight: true, maxHeight: 160 }),
  };
}

/** Starts and ends in order of place, as igv.js sorts and packs them. */
async function readFeatures(annotation) {
  return JSON.parse(await textOf(annotation.features)).map(([record, start, end, strand, kind, name]) => ({
    chr: data.records[record].name, start, end, strand, kind, ...(name ? { name } : {}),
  }));
}

/* The panel */

const element = (id) => document.getElementById(id);

function made(tag, text = "", attributes = {}) {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function key(tokenizer) {
  return made("span", tokenizer.index + 1, { class: "key", style: `background:${tokenizer.colors[0]}`, title: tokenizer.name });
}

/** A table whose columns are the tokenizers. */
function fill(table, title, lines) {
  const head = made("tr");
  head.append(made("th", title), ...page.tokenizers.map((tokenizer) => {
    const cell = made("th");
    cell.append(key(tokenizer));
    return cell;
  }));
  const body = lines.map(([name, ...cells]) => {
    const line = made("tr");
    line.append(made("td", name, { title: name }), ...cells.map((cell) => made("td", cell)));
    return line;
  });
  const [thead, tbody] = [made("thead"), made("tbody")];
  thead.append(head);
  tbody.append(...body);
  table.replaceChildren(thead, tbody);
}

/** What is in view: its record and its bases, as far as the page has them. */
function view() {
  const frame = page.browser.referenceFrameList[0], record = recordOf(frame.chr);
  if (!record) return null;
  const start = Math.max(record.start, Math.floor(frame.start)), end = Math.min(record.end, Math.ceil(frame.end));
  return start < end ? { record, start, end } : null;
}

/** Tokens in view, their mean length, and how many have each length. */
function lengthsInView(tokenizer, { record, start, end }) {
  const tokens = tokenizer.records[record.index], [first, last] = tokens.touching(start, end), counts = [];
  let bases = 0;
  for (let index = first; index < last; index++) {
    const length = tokens.ends[index] - tokens.starts[index];
    counts[length] = (counts[length] || 0) + 1;
    bases += length;
  }
  return { count: last - first, mean: bases / (last - first), counts: Array.from(counts, (count) => count || 0) };
}

/** By kind of region tokens per base of each tokenizer, over the letters A, C, G and T; null where there are none. */
function densitiesInView({ record, start, end }) {
  const letters = inBoth([[start, end]], record.letters);
  return page.regions.map(({ name, records }) => {
    const inside = inBoth(letters, records[record.index]);
    const bases = inside.reduce((sum, [first, last]) => sum + last - first, 0);
    const densities = page.tokenizers.map((tokenizer) => {
      const tokens = tokenizer.records[record.index];
      return bases ? inside.reduce((sum, [first, last]) => sum + tokens.between(first, last), 0) / bases : null;
    });
    return { name, bases, densities };
  });
}

const LONGEST_SHOWN_BP = 32;

function histogram(counts, color, longest) {
  const shown = Array(longest + 1).fill(0);
  counts.forEach((count, length) => { shown[Math.min(length, longest)] += count; });
  const most = Math.max(...shown, 1), step = 340 / longest;
  const ticks = [1, ...[5, 10, 15, 20, 25, 30].filter((tick) => 1.1 * tick < longest), longest];
  const bar = (count, length) => !count ? "" :
    `<rect x="${(length - 1) * step + 0.5}" y="${28 - 26 * count / most}" width="${step - 1}" ` +
    `height="${26 * count / most}" fill="${color}"><title>${number(count)} of ${length} bp` +
    `${length === LONGEST_SHOWN_BP ? " or more" : ""}</title></rect>`;
  const tick = (length) =>
    `<text x="${length === longest ? 340 : (length - 0.5) * step}" y="39" text-anchor="${length === longest ? "end" : "middle"}">` +
    `${length === LONGEST_SHOWN_BP ? "≥" : ""}${length}</text>`;
  return `<svg viewBox="0 0 340 40" preserveAspectRatio="xMinYMid" role="img" aria-label="Lengths of tokens"><path d="M0 28.5H340" stroke="#bbb"/>` +
    shown.map(bar).join("") + ticks.map(tick).join("") + "</svg>";
}

function showView() {
  const shown = view();
  if (!shown) {
    element("locus").textContent = "Nothing of this page is in view.";
    element("lengths").replaceChildren(made("p", "No tokens.", { class: "empty" }));
    element("regions").replaceChildren();
    return;
  }
  element("locus").textContent = `${place(shown.record, shown.start, shown.end)}, ${number(shown.end - shown.start)} bp`;
  const found = page.tokenizers.map((tokenizer) => lengthsInView(tokenizer, shown));
  const longest = Math.max(2, Math.min(LONGEST_SHOWN_BP, Math.max(...found.map(({ counts }) => counts.length - 1))));
  element("lengths").replaceChildren(...page.tokenizers.map((tokenizer, index) => {
    const { count, mean, counts } = found[index], node = made("div", "", { class: "tokenizer" });
    const name = made("span", "", { title: tokenizer.name });
    name.append(key(tokenizer), tokenizer.name);
    const figures = count ? `${number(count)}, mean ${number(mean, 2)} bp` : "none";
    node.append(name, made("span", figures, { class: "figures" }));
    if (count) node.insertAdjacentHTML("beforeend", histogram(counts, tokenizer.line, longest));
    return node;
  }));
  const lines = densitiesInView(shown).filter(({ bases }) => bases)
    .map(({ name, densities }) => [name, ...densities.map((density) => number(density, 3))]);
  if (lines.length) fill(element("regions"), "", lines);
  else element("regions").replaceChildren(made("caption", "There is no A, C, G or T in view.", { class: "empty" }));
}

/* Motifs */

const IUPAC = {
  A: "A", C: "C", G: "G", T: "T", R: "AG", Y: "CT", S: "CG", W: "AT", K: "GT", M: "AC",
  B: "CGT", D: "AGT", H: "ACT", V: "ACG", N: "ACGT",
};
const SITES_AT_ONCE = 100;

/** Where a motif stands, on either strand, in order; one that reads alike on both counts once. */
function motifSites(motif) {
  const expression = (letters) => new RegExp(`(?=${[...letters].map((letter) => `[${IUPAC[letter]}]`).join("")})`, "gi");
  const strands = reversed(motif) === motif ? { "+": motif } : { "+": motif, "-": reversed(motif) };
  const sites = [];
  for (const record of page.records) {
    const letters = record.sequence.slice(record.start - record.sequenceStart, record.end - record.sequenceStart);
    for (const [strand, pattern] of Object.entries(strands)) {
      for (const match of letters.matchAll(expression(pattern))) {
        const start = record.start + match.index;
        sites.push({ record, start, end: start + motif.length, strand });
      }
    }
  }
  return sites.sort((one, other) => one.record.index - other.record.index || one.start - other.start);
}

/** The letters of a site along its strand, a bar where a token begins or ends, and what its tokens have beside it. */
function cutOf(site, tokenizer) {
  const tokens = tokenizer.records[site.record.index], [first, last] = tokens.touching(site.start, site.end);
  const { sequence, sequenceStart } = site.record, isReverse = site.strand === "-";
  const read = (start, end) => {
    const letters = sequence.slice(start - sequenceStart, end - sequenceStart);
    return isReverse ? reversed(letters) : letters.toUpperCase();
  };
  const edges = new Set();
  for (let index = first; index < last; index++) edges.add(tokens.starts[index]).add(tokens.ends[index]);
  const pieces = (start, end) => {
    const inner = [...edges].filter((edge) => start < edge && edge < end).sort((one, other) => one - other);
    const parts = [start, ...inner, end].slice(1).map((edge, index) => read([start, ...inner][index], edge));
    return (isReverse ? parts.reverse() : parts).join("|");
  };
  const low = first < last ? Math.min(tokens.starts[first], site.start) : site.start;
  const high = first < last ? Math.max(tokens.ends[last - 1], site.end) : site.end;
  let [before, after] = [read(low, site.start), read(site.end, high)];
  let [opens, closes] = [edges.has(site.start), edges.has(site.end)].map((is) => (is ? "|" : ""));
  if (isReverse) [before, after, opens, closes] = [after, before, closes, opens];
  return { before, cut: opens + pieces(site.start, site.end) + closes, after };
}

function findMotif(letters) {
  const motif = letters.trim().toUpperCase(), told = element("motif-told");
  const isRead = motif !== "" && [...motif].every((letter) => letter in IUPAC);
  page.motif = motif;
  page.sites = isRead ? motifSites(motif) : [];
  told.className = isRead || motif === "" ? "note" : "note wrong";
  element("motif-found").hidden = !page.sites.length;
  element("motif-figures").replaceChildren();
  if (motif === "") told.textContent = "IUPAC letters; both strands of all that is on this page.";
  else if (!isRead) told.textContent = `A motif must be of the letters ${Object.keys(IUPAC).join("")}.`;
  else if (!page.sites.length) told.textContent = `${motif} does not occur on this page.`;
  else {
    told.textContent = `${number(page.sites.length)} sites, by tokenizer:`;
    const of = page.tokenizers.map(({ records }) => page.sites.map(({ record, start, end }) => {
      const [first, last] = records[record.index].touching(start, end);
      return last - first;
    }));
    const share = (counts) => number(100 * counts.filter((count) => count === 1).length / counts.length, 1);
    const mean = (counts) => number(counts.reduce((sum, count) => sum + count, 0) / counts.length, 2);
    fill(element("motif-figures"), "", [["tokens each", ...of.map(mean)], ["in one token, %", ...of.map(share)]]);
  }
  // One after the other, however fast they are asked for.
  page.motifTrack = page.motifTrack.then(showMotifTrack);
  showCuts();
}

function showCuts() {
  const tokenizer = page.tokenizers[element("motif-tokenizer").value], counts = new Map();
  for (const site of page.sites) {
    let letter = 0;
    const pattern = cutOf(site, tokenizer).cut.replace(/[A-Z]/g, () => page.motif[letter++]);
    counts.set(pattern, (counts.get(pattern) || 0) + 1);
  }
  const most = [...counts].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1)).slice(0, 5);
  element("motif-cuts").replaceChildren(...most.map(([pattern, count]) => {
    const line = made("tr");
    line.append(made("td", pattern), made("td", number(count)), made("td", `${number(100 * count / page.sites.length, 1)} %`));
    return line;
  }));
  element("motif-sites").replaceChildren();
  showSites();
}

function showSites() {
  const list = element("motif-sites"), tokenizer = page.tokenizers[element("motif-tokenizer").value];
  for (const site of page.sites.slice(list.children.length, list.children.length + SITES_AT_ONCE)) {
    const button = made("button", "", { type: "button" }), code = made("code"), item = made("li");
    const { before, cut, after } = cutOf(site, tokenizer);
    code.append(before, made("b", cut), after);
    button.append(made("span", `${site.record.name}:${number(site.start + 1)} ${site.strand}`), code);
    button.addEventListener("click", () => page.browser.search(
      `${site.record.name}:${Math.max(1, site.start - 39)}-${Math.min(site.record.length, site.end + 40)}`));
    item.append(button);
    list.append(item);
  }
  element("motif-more").hidden = list.children.length >= page.sites.length;
}

/** The sites as a track, which is there while there are some. */
async function showMotifTrack() {
  page.browser.removeTrackByName("Motif");
  if (!page.sites.length) return;
  const features = page.sites.map(({ record, start, end, strand }) =>
    ({ chr: record.name, start, end, strand, kind: "motif", name: page.motif }));
  await page.browser.loadTrack({ ...annotationTrack({ name: "Motif", isFlat: true }, features), order: -1 });
}

/* Opening */

async function openPage() {
  const lines = (await textOf(data.fasta)).split("\n");
  page.records = data.records.map((record, index) => ({ ...record, index, sequence: lines[2 * index + 1] }));
  for (const record of page.records) {
    record.letters = stretches(record, (code) => "ACGTacgt".includes(String.fromCharCode(code)));
    record.softMasked = stretches(record, (code) => code > 96);
    page.recordsByName.set(record.name, record);
  }
  page.tokenizers = await Promise.all(data.tokenizers.map(async (tokenizer, index) => {
    const records = await Promise.all(tokenizer.records.map(readTokens));
    let count = 0, bases = 0;
    for (const { starts, ends } of records) {
      count += starts.length;
      for (let i = 0; i < starts.length; i++) bases += ends[i] - starts[i];
    }
    return { ...tokenizer, index, records, meanBp: bases / Math.max(1, count) };
  }));

  const tracks = [], kinds = new Map();
  const softMasked = page.records.flatMap(({ name, softMasked }) =>
    softMasked.map(([start, end]) => ({ chr: name, start, end, strand: ".", kind: "soft-masked" })));
  for (const annotation of data.annotations) {
    const features = await readFeatures(annotation);
    tracks.push(annotationTrack(annotation, features));
    if (!annotation.isRegion) continue;
    for (const { chr, start, end, kind } of features) {
      if (!kinds.has(kind)) kinds.set(kind, { isFeature: !annotation.isFlat, records: page.records.map(() => []) });
      kinds.get(kind).records[recordOf(chr).index].push([start, end]);
    }
  }
  const regions = [{ name: "all", records: page.records.map(({ start, end }) => [[start, end]]) }];
  for (const [name, { records }] of kinds) regions.push({ name, records: records.map(joined) });
  const features = [...kinds.values()].filter(({ isFeature }) => isFeature);
  if (features.length) {
    regions.push({ name: "elsewhere", records: page.records.map(({ index, start, end }) =>
      outside(joined(features.flatMap(({ records }) => records[index])), start, end)) });
  }
  if (softMasked.length) {
    tracks.push(annotationTrack({ name: "Soft-masked", isFlat: true }, softMasked));
    regions.push({ name: "soft-masked", records: page.records.map(({ softMasked }) => softMasked) });
  }
  page.regions = regions;

  for (const tokenizer of page.tokenizers) {
    const name = `${tokenizer.index + 1} ${escaped(tokenizer.name)}`;
    tracks.push({ type: "dnachunk-tokens", name, tokenizer: tokenizer.index, height: 46 });
    if (tokenizer.records.some(({ taps }) => taps)) {
      tracks.push({
        type: "dnachunk-reads", name: `${escaped(tokenizer.name)}: where tokens read`, tokenizer: tokenizer.index,
        height: 76, visibilityWindow: 1500,
      });
    }
    const probability = data.probabilities.find(({ tokenizer: index }) => index === tokenizer.index);
    if (probability) {
      const records = await Promise.all(probability.records.map(async (text) => new Uint16Array(await unpacked(text))));
      tracks.push({
        type: "wig", name: `${escaped(tokenizer.name)}: boundary probability`, featureSource: probabilitySource(records),
        color: tokenizer.line, min: 0, max: 1, autoscale: false, summarize: false, height: 50,
      });
    }
  }

  element("loading").remove();
  const first = page.records[0];
  page.browser = await igv.createBrowser(element("igv"), {
    reference: {
      id: data.genome, name: data.genome, fastaURL: `data:application/gzip;base64,${data.fasta}`, indexed: false,
      wholeGenomeView: false,
    },
    locus: `${first.name}:${first.start + 1}-${Math.min(first.end, first.start + data.openedBp)}`,
    // No server is asked for names that are not on the page, nor for other genomes.
    tracks, search: false, loadDefaultGenomes: false, showIdeogram: false, minimumBases: 20,
    showMultiSelectButton: false, showCursorTrackingGuideButton: false, showCenterGuideButton: false,
  });
  const choice = element("motif-tokenizer");
  choice.append(...page.tokenizers.map(({ name, index }) => made("option", `${index + 1} ${name}`, { value: index })));
  choice.addEventListener("change", showCuts);
  element("motif-more").addEventListener("click", showSites);
  element("motif").addEventListener("submit", (event) => {
    event.preventDefault();
    findMotif(element("motif-letters").value);
  });
  let waiting;
  page.browser.on("locuschange", () => {
    clearTimeout(waiting);
    waiting = setTimeout(showView, 60);
  });
  showView();
  document.body.dataset.opened = "true";
}

openPage().catch((error) => {
  element("igv").replaceChildren(made("p", `The page could not be opened: ${error.message}`, { class: "wrong" }));
  throw error;
});
