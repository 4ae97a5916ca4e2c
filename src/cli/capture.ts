/** `decode` and `trace`: frames as a ladder or as documents. */

import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { UsageError } from './arguments.ts';
import { readInput } from './input.ts';
import { Ladder, type Side } from './ladder.ts';
import { PcapError, pcapFileHeader, pcapRecord, readPcap } from './pcap.ts';
import type { FrameDocument } from './summary.ts';
import { type FrameSummary, isProtocolFrame, summarize } from './summary.ts';
import { jsonLine, type Terminal } from './terminal.ts';

/** Takes text for standard output; resolves when there is room for more. */
export type Print = (text: string) => Promise<void>;

/** Frames that are looked at before the first is drawn, to learn who is on which side. */
const LOOK_AHEAD = 64;

/** Prints frames as they come, those of other protocols left out: documents, or the ladder without echoes. */
class Display {
  /** Frames of other protocols. */
  others = 0;
  /** Echoes that were not drawn. */
  echoes = 0;
  readonly #print: Print;
  readonly #ladder: Ladder | undefined;
  readonly #ahead: { frame: FrameSummary; time: number; coarse: boolean }[] = [];
  #lookAhead: number;
  #number = 0;

  constructor(
    print: Print,
    terminal: Terminal | 'json',
    lookAhead: number,
    ends: Partial<Record<Side, string>> = {},
  ) {
    this.#print = print;
    this.#ladder = terminal === 'json' ? undefined : new Ladder(terminal, ends);
    this.#lookAhead = lookAhead;
  }

  /** `time`: seconds since the first frame. */
  async show(octets: Uint8Array, time: number, { cut = false, echo = false, coarse = false }): Promise<void> {
    const frame = summarize(octets, cut);
    this.#number++;
    if (!isProtocolFrame(frame.document)) {
      this.others++;
    } else if (this.#ladder === undefined) {
      const document: { no: number; time: number; echo?: true } & FrameDocument = {
        no: this.#number,
        time,
        ...(echo ? { echo } : {}),
        ...frame.document,
      };
      await this.#print(jsonLine(document));
    } else if (echo) {
      this.echoes++;
    } else {
      this.#ladder.learn(frame);
      this.#ahead.push({ frame, time, coarse });
      if (this.#ahead.length > this.#lookAhead) await this.flush();
    }
  }

  async flush(): Promise<void> {
    this.#lookAhead = 0;
    for (const { frame, time, coarse } of this.#ahead.splice(0)) {
      for (const line of this.#ladder!.draw(frame, time, coarse)) await this.#print(`${line}\n`);
    }
  }
}

/** Seconds that a bridge takes at most to send a frame back; the shortest ECP retransmission in use comes later. */
const ECHO = 0.02;

/**
 * Tells which frames a reflecting bridge sent back to their sender: the same octets again at once. Each frame has one echo
 * at most, so that a retransmission, which has the same octets too, is a frame again.
 */
class Echoes {
  /** When each of the last frames was seen, oldest first. */
  readonly #seen = new Map<string, number>();

  isEcho(octets: Uint8Array, time: number): boolean {
    for (const [key, before] of this.#seen) {
      if (Math.abs(time - before) <= ECHO) break;
      this.#seen.delete(key);
    }
    const key = Buffer.from(octets).toString('latin1');
    if (this.#seen.delete(key)) return true;
    this.#seen.set(key, time);
    if (this.#seen.size > 4096) for (const oldest of this.#seen.keys()) return !this.#seen.delete(oldest);
    return false;
  }
}

const counted = (count: number, one: string, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

/**
 * `file`: a path, or `-`. `note` takes what is no document. Rejects with PcapError, or with the system's error when it cannot
 * be opened, after what could be shown.
 */
export async function decodeFile(
  file: string,
  print: Print,
  note: (line: string) => void,
  terminal: Terminal | 'json',
): Promise<void> {
  const display = new Display(print, terminal, LOOK_AHEAD);
  const echoes = new Echoes();
  let first: { seconds: number; nanoseconds: number } | undefined;
  try {
    for await (const frame of readPcap(readInput(file))) {
      first ??= frame;
      const time = frame.seconds - first.seconds + (frame.nanoseconds - first.nanoseconds) / 1e9;
      const echo = echoes.isEcho(frame.octets, time);
      await display.show(frame.octets, Number(time.toFixed(9)), { cut: frame.cut, echo });
    }
  } catch (error) {
    if (!(error instanceof PcapError)) throw error;
    throw new PcapError(`${file === '-' ? 'standard input' : file}: ${error.message}`);
  } finally {
    await display.flush();
    const { others, echoes } = display;
    if (echoes > 0)
      await print(
        `${counted(echoes, 'echo', 'echoes')}: the bridge sent these frames back to their sender\n`,
      );
    const left = `${counted(others, 'frame')} of other protocols left out`;
    if (others > 0 && terminal === 'json') note(left);
    else if (others > 0) await print(`${left}\n`);
  }
}

export interface TraceSource {
  /** Frames of the link from now on, until `stopped`. */
  onFrame(listener: (time: number, octets: Uint8Array) => void): void;
  /** Resolves when the user ends the trace; rejects when nothing can come any more. */
  stopped: Promise<void>;
}

/** Throws UsageError where a capture file cannot be written, as far as that can be told without making it. */
export function checkPcap(file: string): void {
  const isDirectory = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isDirectory(file)) throw new UsageError(`--pcap ${file}: is a directory, name a file in it`);
  if (!isDirectory(dirname(file)))
    throw new UsageError(`--pcap ${file}: the directory ${dirname(file)} does not exist`);
  if (file.endsWith('/')) throw new UsageError(`--pcap ${file}: names a directory, which does not exist`);
}

/** `count`: ends after that many frames. `pcap`: also recorded in that file. */
export async function trace(
  source: TraceSource,
  print: Print,
  terminal: Terminal | 'json',
  ends: Partial<Record<Side, string>>,
  { pcap, count = Number.POSITIVE_INFINITY }: { pcap?: string | undefined; count?: number | undefined },
): Promise<void> {
  const display = new Display(print, terminal, 0, ends);
  const file = pcap === undefined ? undefined : openSync(pcap, 'w');
  try {
    if (file !== undefined) writeSync(file, pcapFileHeader());
    let first: number | undefined;
    let queue = Promise.resolve();
    let seen = 0;
    // An evbd that knows whole milliseconds only; one that knows more says so with the first odd microsecond.
    let coarse = true;
    const enough = new Promise<void>((resolve, reject) => {
      source.onFrame((time, octets) => {
        if (++seen > count) return;
        first ??= time;
        const since = Number((time - first).toFixed(6));
        coarse &&= Math.round(time * 1e6) % 1000 === 0;
        const times = { coarse };
        if (file !== undefined) writeSync(file, pcapRecord(time, octets));
        queue = queue.then(() => display.show(octets, since, times));
        if (seen === count) queue.then(resolve, reject);
      });
    });
    await Promise.race([enough, source.stopped]);
    await queue;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
