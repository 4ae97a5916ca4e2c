/**
 * How the lab looks in a terminal: at most 80 columns, colours only on a terminal. Everything
 * is written as it happens.
 */

import { Ladder, summarize, timeText } from '../cli/ladder.ts';
import { type Colour, paint, printable, type Terminal, wrap } from '../cli/terminal.ts';
import { type Guest, program, stationMac, switchMac } from './namespaces.ts';
import type { Reach } from './traffic.ts';

export const columns = 80;

/** The steps of the proof as rows of the table at the end. */
export interface ReachRow {
  when: string;
  hairpin: boolean;
  reach: Reach;
}

export class Display {
  readonly #write: (text: string) => void;
  readonly #terminal: Terminal;
  readonly #ladder: Ladder;
  #steps = 0;
  /** Time of the first frame or event. */
  #zero: number | undefined;

  constructor(write: (text: string) => void, terminal: Terminal) {
    this.#write = write;
    this.#terminal = terminal;
    this.#ladder = new Ladder(terminal, { station: stationMac, bridge: switchMac });
  }

  #paint(colour: Colour, text: string): string {
    return paint(this.#terminal, colour, text);
  }

  #line(text = ''): void {
    this.#write(`${text.trimEnd()}\n`);
  }

  picture(guests: readonly Guest[]): void {
    const first = guests[0]!;
    const last = guests.at(-1)!;
    const row = (left: string, right: string, wire = '|        |') =>
      this.#line(` |${left.padEnd(38)}${wire}${right.padEnd(26)}|`);
    this.#line(
      this.#paint('bold', `evbd lab: reflective relay (IEEE 802.1Qbg, VEPA) with ${guests.length} guests`),
    );
    this.#line();
    this.#line('   namespace station                                 namespace switch');
    this.#line(` +${'-'.repeat(38)}+        +${'-'.repeat(26)}+`);
    row(` ${first.name.padEnd(7)} ${first.mac} --+`, '');
    row(`${guests.length > 2 ? '   ...' : ''}`.padEnd(29).concat('|'), '', '|  veth  |');
    row(` ${last.name.padEnd(7)} ${last.mac} --+-- eth1 `, ' swp1 -- br0', '==========');
    row('   each a namespace, macvlan in VEPA', '   enforced: only what is');
    row('   mode: all frames leave by eth1', '   associated gets through');
    row(' evbd, station role', ' evbd, bridge role');
    this.#line(` +${'-'.repeat(38)}+        +${'-'.repeat(26)}+`);
    this.#line();
    this.fact(
      'A bridge never sends a frame back to where it came from, so the guests cannot reach each other; unless the ' +
        "switch's port reflects (hairpin mode), which evbd negotiates, for guests which evbd associates.",
    );
    this.#line();
  }

  begin(title: string): void {
    this.#steps++;
    this.#line(this.#paint('bold', `${String(this.#steps).padStart(2)}  ${title}`));
  }

  end(ok: boolean, ms: number): void {
    const verdict = ok ? this.#paint('green', 'ok') : this.#paint('red', 'FAILED');
    const time = `${ms.toFixed(0)} ms`;
    const width = columns - 4 - (ok ? 2 : 6) - 10;
    this.#line(`    ${' '.repeat(Math.max(0, width))}${verdict}${time.padStart(10)}`);
  }

  skipped(title: string): void {
    this.#steps++;
    this.#line(`${String(this.#steps).padStart(2)}  ${title}: not tried`);
  }

  /** A command as it is typed, with the namespace it runs in as the prompt. */
  command(line: string, namespace: string): void {
    const [first, ...rest] = wrap(`${namespace}# ${line}`, columns - 4);
    this.#line(`    ${this.#paint('dim', first!)}`);
    for (const more of rest) this.#line(`      ${this.#paint('dim', more)}`);
  }

  fact(text: string): void {
    for (const line of wrap(text, columns - 4)) this.#line(`    ${line}`);
  }

  /** A frame as it went over the wire. The first one is at time zero. */
  frame(time: number, octets: Uint8Array): void {
    const summary = summarize(octets);
    this.#zero ??= time;
    for (const line of this.#ladder.draw(summary, (time - this.#zero) / 1000)) this.#line(line);
  }

  /** Something that the switch's kernel did, in its place in the ladder. */
  event(time: number, text: string): void {
    this.#zero ??= time;
    const bar = this.#terminal.unicode ? '│' : '|';
    const said = this.#paint('yellow', `* ${printable(this.#terminal, text)}`.padStart(columns - 16));
    this.#line(`${timeText((time - this.#zero) / 1000).padStart(10)} ${bar} ${said} ${bar}`);
  }

  table(rows: readonly ReachRow[]): void {
    this.#line();
    const row = (when: string, mode: string, pairs: string, sent: string, back: string) =>
      `    ${when.padEnd(28)}${mode.padStart(12)}${pairs.padStart(13)}${sent.padStart(11)}${back.padStart(12)}`;
    this.#line(this.#paint('bold', row('', 'hairpin_mode', 'pairs that', 'frames', 'of these')));
    this.#line(this.#paint('bold', row('guests', 'of swp1', 'reach', 'sent', 'reflected')));
    for (const { when, hairpin, reach } of rows) {
      const { sent, reflected } = totals(reach);
      const pairs = `${reach.answered.length} of ${reach.pairs}`;
      const line = row(when, String(Number(hairpin)), pairs, String(sent), String(reflected));
      this.#line(reach.answered.length > 0 ? this.#paint('green', line) : line);
    }
    this.#line();
  }

  /** Both may quote daemons and peers. */
  failure(message: string, details: readonly string[]): void {
    for (const line of wrap(printable(this.#terminal, message), columns - 4))
      this.#line(`    ${this.#paint('red', line)}`);
    for (const line of details) this.#line(`    | ${printable(this.#terminal, line)}`);
  }

  verdict(ok: boolean, steps: readonly { ok: boolean; ms: number }[]): void {
    const held = steps.filter((step) => step.ok).length;
    const seconds = (steps.reduce((all, { ms }) => all + ms, 0) / 1000).toFixed(1);
    const text = `${held} of ${steps.length} steps hold, ${seconds} s`;
    this.#line(this.#paint(ok ? 'green' : 'red', ok ? `ok: ${text}` : `FAILED: ${text}`));
  }

  /** What there is to try in a lab that was left running; the lines can be typed as they are, wherever one stands. */
  inside(bus: string, folder: string): void {
    this.#line();
    this.#line('Within it:');
    this.#line(`  export EVBD_BUS=${bus}`);
    this.#line(`  node ${shellWord(program('cli/evbctl.js'))} status`);
    this.#line('  ip netns exec guest1 ping 10.82.0.2');
    this.#line('  ip netns exec switch bridge -d link show dev swp1');
    this.#line(`  ls ${folder}/station ${folder}/switch`);
    this.#line();
  }
}

export function totals(reach: Reach): { sent: number; reflected: number } {
  const sum = (key: 'sent' | 'reflected') => reach.frames.reduce((all, frames) => all + frames[key], 0);
  return { sent: sum('sent'), reflected: sum('reflected') };
}

/** As a shell takes it for one word. */
function shellWord(text: string): string {
  return /^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
