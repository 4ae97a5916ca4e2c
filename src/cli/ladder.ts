import { type FrameDocument, type FrameSummary, summarize } from './summary.ts';
import { type Colour, paint, printable, type Terminal, wrap } from './terminal.ts';

export { type FrameDocument, type FrameSummary, summarize };

export type Side = 'station' | 'bridge';

/** Columns of the time, right-aligned, and the blank behind it. */
const TIME = 11;
/** From the bar to the label and back: two strokes and a blank each, and the arrow head. */
const ARROW = 6;

interface Strokes {
  line: string;
  left: string;
  right: string;
  toLeft: string;
  toRight: string;
  bar: string;
}

const UNICODE: Strokes = { line: '─', left: '├', right: '┤', toLeft: '◀', toRight: '▶', bar: '│' };
const ASCII: Strokes = { line: '-', left: '|', right: '|', toLeft: '<', toRight: '>', bar: '|' };

/**
 * Frames between a station (left) and a bridge (right) as lines of text, one at a time:
 *
 *        station 02:00:5e:10:00:01              bridge 02:00:5e:10:00:02
 *     0.0 ms ├── LLDP ttl 121 EVB station RRREQ, relay unknown ───────▶│
 *
 * The side of an address is told by what it sends; where nothing tells, the first one heard is on the left.
 */
export class Ladder {
  readonly #terminal: Terminal;
  readonly #strokes: Strokes;
  readonly #sides = new Map<string, Side>();
  #shown: Partial<Record<Side, string>> = {};
  #anyHeader = false;

  /** `ends`: addresses that are known before the first frame. */
  constructor(terminal: Terminal, ends: Partial<Record<Side, string>> = {}) {
    this.#terminal = terminal;
    if (ends.station) this.#sides.set(ends.station, 'station');
    if (ends.bridge) this.#sides.set(ends.bridge, 'bridge');
    this.#strokes = terminal.unicode ? UNICODE : ASCII;
  }

  /** The side of the frame's source, where the frame itself tells it; worth doing for some frames before drawing the first. */
  learn({ document }: FrameSummary): void {
    const { source } = document;
    const side = sideOf(document);
    if (source === undefined || side === undefined || this.#sides.has(source)) return;
    // A capture of many links must not grow this without end.
    if (this.#sides.size < 1024) this.#sides.set(source, side);
  }

  /** Lines of one frame. `time`: seconds since the first frame; `coarse`: whole milliseconds are all that is known of it. */
  draw(frame: FrameSummary, time: number, coarse = false): string[] {
    this.learn(frame);
    const source = frame.document.source ?? '';
    const side = this.#sides.get(source) ?? this.#guess(source);
    const width = this.#terminal.columns - TIME - 2;
    const label = width - ARROW;
    const { error } = frame.document;
    const [only] = frame.vsis;
    // "ECP request 7" and its only VSI stand on one line where they fit: the VSI's verb says already that it is a request.
    const short = `${frame.head.replace(' request ', ' ')} ${only}`;
    const joined = frame.vsis.length === 1 && short.length <= label;
    const lines = this.#header(side, source);
    lines.push(this.#arrow(timeText(time, coarse), side, joined ? short : frame.head, colourOf(frame)));
    for (const vsi of joined ? [] : frame.vsis) lines.push(...this.#beneath(vsi, colourOf(frame)));
    if (error !== null) lines.push(...this.#beneath(`! ${error}`, 'red'));
    return lines;
  }

  #guess(source: string): Side {
    const taken = [...this.#sides].filter(([, side]) => side === 'station');
    const side = taken.length === 0 || this.#shown.station === source ? 'station' : 'bridge';
    if (this.#sides.size < 1024) this.#sides.set(source, side);
    return side;
  }

  /** Names both ends when one of them is new. */
  #header(side: Side, source: string): string[] {
    if (this.#anyHeader && this.#shown[side] === source) return [];
    const first = !this.#anyHeader;
    this.#shown = { ...this.#shown, [side]: source };
    // The other end, once it is known, belongs into the first header too.
    for (const [address, known] of this.#sides) this.#shown[known] ??= address;
    this.#anyHeader = true;
    const name = (which: Side) => `${which} ${this.#shown[which] ?? ''}`.trimEnd();
    const left = ' '.repeat(TIME) + name('station');
    const right = name('bridge');
    const line = left + right.padStart(this.#terminal.columns - left.length);
    return [...(first ? [] : ['']), paint(this.#terminal, 'bold', line)];
  }

  #arrow(time: string, side: Side, text: string, colour: Colour | undefined): string {
    const { line, left, right, toLeft, toRight, bar } = this.#strokes;
    const width = this.#terminal.columns - TIME - 2;
    const label = clip(printable(this.#terminal, text), width - ARROW, this.#terminal);
    const strokes = line.repeat(Math.max(0, width - 5 - label.length));
    const coloured = paint(this.#terminal, colour, label);
    const drawn =
      side === 'station'
        ? `${left}${line}${line} ${coloured} ${strokes}${toRight}${bar}`
        : `${bar}${toLeft}${strokes} ${coloured} ${line}${line}${right}`;
    return `${time.padStart(TIME - 1)} ${drawn}`;
  }

  #beneath(text: string, colour: Colour | undefined): string[] {
    const { bar } = this.#strokes;
    const width = this.#terminal.columns - TIME - 2;
    return wrap(printable(this.#terminal, text), width - 7).map((line, i) => {
      const label = (i === 0 ? line : `  ${line}`).slice(0, width - 5);
      const blank = ' '.repeat(Math.max(0, width - 4 - label.length));
      return `${' '.repeat(TIME)}${bar}    ${paint(this.#terminal, colour, label)}${blank}${bar}`;
    });
  }
}

/** Milliseconds in the first second, seconds after. */
export function timeText(seconds: number, coarse = false): string {
  return Math.abs(seconds) < 1 ? `${(seconds * 1000).toFixed(coarse ? 0 : 1)} ms` : `${seconds.toFixed(3)} s`;
}

function clip(text: string, width: number, terminal: Terminal): string {
  if (text.length <= width) return text;
  return terminal.unicode ? `${text.slice(0, width - 1)}…` : `${text.slice(0, width - 2)}..`;
}

/** What only one of the two sides sends: its EVB mode, a request without and an answer with the ack bit. */
function sideOf({ lldp, vdp }: FrameDocument): Side | undefined {
  if (lldp?.evb !== undefined) {
    return lldp.evb.mode === 'station' || lldp.evb.mode === 'bridge' ? lldp.evb.mode : undefined;
  }
  const vsi = vdp?.vsis[0];
  if (vsi?.status?.ack) return 'bridge';
  // A bridge may send a DeAssociate of its own without the ack bit.
  return vsi?.status !== undefined && vsi.request !== 'deassociate' ? 'station' : undefined;
}

function colourOf({ document }: FrameSummary): Colour | undefined {
  if (document.error !== null) return 'red';
  const outcomes = (document.vdp?.vsis ?? []).map(({ status, response }) =>
    status === undefined ? response === 0 : !status.ack || status.error === 0,
  );
  if (outcomes.includes(false)) return 'red';
  if (document.vdp?.vsis.some(({ status }) => status?.ack)) return 'green';
  return document.ecp?.operation === 'ack' ? 'dim' : undefined;
}
