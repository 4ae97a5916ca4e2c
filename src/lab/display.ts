/**
 * How the lab looks in a terminal: at most 80 columns, plain ASCII, colours only where they were asked for. Everything
 * is written as it happens.
 */

import type { Guest } from './namespaces.ts';
import type { Direction, Reach } from './traffic.ts';

export const columns = 80;

/** The steps of the proof as rows of the table at the end. */
export interface ReachRow {
  when: string;
  hairpin: boolean;
  reach: Reach;
}

export class Display {
  readonly #write: (text: string) => void;
  readonly #colour: boolean;
  #steps = 0;
  /** The ladder of this step has its heading. */
  #ladder = false;

  constructor(write: (text: string) => void, colour: boolean) {
    this.#write = write;
    this.#colour = colour;
  }

  #paint(code: number, text: string): string {
    return this.#colour ? `\u001b[${code}m${text}\u001b[0m` : text;
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
      this.#paint(1, `evbd lab: reflective relay (IEEE 802.1Qbg, VEPA) with ${guests.length} guests`),
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
    this.#ladder = false;
    this.#line(this.#paint(1, `${String(this.#steps).padStart(2)}  ${title}`));
  }

  end(ok: boolean, ms: number): void {
    const verdict = ok ? this.#paint(32, 'ok') : this.#paint(31, 'FAILED');
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
    const [first, ...rest] = wrap(`${namespace}# ${line}`, columns - 6);
    this.#line(`    ${this.#paint(36, first!)}`);
    for (const more of rest) this.#line(`      ${this.#paint(36, more)}`);
  }

  fact(text: string): void {
    for (const line of wrap(text, columns - 4)) this.#line(`    ${line}`);
  }

  /** One rung of the ladder: a frame as it went over the wire. */
  frame(ms: number, direction: Direction, summary: string): void {
    this.#heading();
    const room = columns - 12;
    const text = summary.length > room - 6 ? `${summary.slice(0, room - 9)}...` : summary;
    const shaft = '-'.repeat(room - text.length - 2);
    const rung = direction === 'to switch' ? `${text} ${shaft}>` : `<${shaft} ${text}`;
    this.#line(`${ms.toFixed(1).padStart(10)}  ${this.#paint(direction === 'to switch' ? 33 : 35, rung)}`);
  }

  /** Something that the switch's kernel did, in its place in the ladder. */
  event(ms: number, text: string): void {
    this.#heading();
    this.#line(`${ms.toFixed(1).padStart(10)}  ${this.#paint(32, text.padStart(columns - 12))}`);
  }

  #heading(): void {
    if (this.#ladder) return;
    this.#ladder = true;
    this.#line(`${'ms'.padStart(10)}  station${'switch'.padStart(columns - 19)}`);
  }

  table(rows: readonly ReachRow[]): void {
    this.#line();
    this.#line(
      this.#paint(1, '    guests                     hairpin   pairs that reach    frames from guests'),
    );
    this.#line(
      this.#paint(1, '                                mode     each other             sent  reflected'),
    );
    for (const { when, hairpin, reach } of rows) {
      const { sent, reflected } = totals(reach);
      const pairs = `${reach.answered.length} of ${reach.pairs}`;
      const cells = `${when.padEnd(28)}${hairpin ? '   1' : '   0'}     ${pairs.padEnd(20)}`;
      const line = `    ${cells}${String(sent).padStart(6)}  ${String(reflected).padStart(9)}`;
      this.#line(reach.answered.length > 0 ? this.#paint(32, line) : line);
    }
    this.#line();
  }

  failure(message: string, details: readonly string[]): void {
    for (const line of wrap(message, columns - 4)) this.#line(`    ${this.#paint(31, line)}`);
    for (const line of details) this.#line(`    | ${line}`);
  }

  verdict(ok: boolean, steps: readonly { ok: boolean; ms: number }[]): void {
    const held = steps.filter((step) => step.ok).length;
    const seconds = (steps.reduce((all, { ms }) => all + ms, 0) / 1000).toFixed(1);
    const text = `${held} of ${steps.length} steps hold, ${seconds} s`;
    this.#line(this.#paint(ok ? 32 : 31, ok ? `ok: ${text}` : `FAILED: ${text}`));
  }

  /** What there is to try in a lab that was left running. */
  inside(bus: string, folder: string): void {
    this.#line();
    this.#line('Within it:');
    this.#line(`  export EVBD_BUS=${bus}`);
    this.#line('  node dist/src/cli/evbctl.js status');
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

function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}
