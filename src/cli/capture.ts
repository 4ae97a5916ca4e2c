/** `decode` and `trace`: frames as a ladder or as documents. */

import { closeSync, openSync, writeSync } from 'node:fs';
import { readInput } from './input.ts';
import { Ladder, type Side } from './ladder.ts';
import { pcapFileHeader, pcapRecord, readPcap } from './pcap.ts';
import type { FrameDocument } from './summary.ts';
import { type FrameSummary, isProtocolFrame, summarize } from './summary.ts';
import type { Terminal } from './terminal.ts';

/** Takes text for standard output; resolves when there is room for more. */
export type Print = (text: string) => Promise<void>;

/** Frames that are looked at before the first is drawn, to learn who is on which side. */
const LOOK_AHEAD = 64;

/** Prints frames as they come: documents, or the ladder without the frames of other protocols. */
class Display {
  /** Frames of other protocols, which the ladder leaves out. */
  others = 0;
  readonly #print: Print;
  readonly #ladder: Ladder | undefined;
  readonly #ahead: { frame: FrameSummary; time: number }[] = [];
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
  async show(octets: Uint8Array, time: number, cut = false): Promise<void> {
    const frame = summarize(octets, cut);
    this.#number++;
    if (this.#ladder === undefined) {
      const document: { no: number; time: number } & FrameDocument = {
        no: this.#number,
        time,
        ...frame.document,
      };
      await this.#print(`${JSON.stringify(document)}\n`);
    } else if (!isProtocolFrame(frame.document)) {
      this.others++;
    } else {
      this.#ladder.learn(frame);
      this.#ahead.push({ frame, time });
      if (this.#ahead.length > this.#lookAhead) await this.flush();
    }
  }

  async flush(): Promise<void> {
    this.#lookAhead = 0;
    for (const { frame, time } of this.#ahead.splice(0)) {
      for (const line of this.#ladder!.draw(frame, time)) await this.#print(`${line}\n`);
    }
  }
}

/** `file`: a path, or `-`. Rejects with PcapError, or with the system's error when it cannot be opened, after what could be shown. */
export async function decodeFile(file: string, print: Print, terminal: Terminal | 'json'): Promise<void> {
  const display = new Display(print, terminal, LOOK_AHEAD);
  let first: { seconds: number; nanoseconds: number } | undefined;
  try {
    for await (const frame of readPcap(readInput(file))) {
      first ??= frame;
      const time = frame.seconds - first.seconds + (frame.nanoseconds - first.nanoseconds) / 1e9;
      await display.show(frame.octets, Number(time.toFixed(9)), frame.cut);
    }
  } finally {
    await display.flush();
    if (display.others > 0)
      await print(
        `${display.others} ${display.others === 1 ? 'frame' : 'frames'} of other protocols left out\n`,
      );
  }
}

export interface TraceSource {
  /** Frames of the link from now on, until `stopped`. */
  onFrame(listener: (time: number, octets: Uint8Array) => void): void;
  /** Resolves when the user ends the trace; rejects when nothing can come any more. */
  stopped: Promise<void>;
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
    const enough = new Promise<void>((resolve, reject) => {
      source.onFrame((time, octets) => {
        if (++seen > count) return;
        first ??= time;
        const since = Number((time - first).toFixed(6));
        if (file !== undefined) writeSync(file, pcapRecord(time, octets));
        queue = queue.then(() => display.show(octets, since));
        if (seen === count) queue.then(resolve, reject);
      });
    });
    await Promise.race([enough, source.stopped]);
    await queue;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
