/**
 * What is on the wire between station and switch, and who reaches whom. That somebody is out of reach is shown, not
 * assumed: a guest that got no answer must have been seen to send at the switch's end of the wire, and none of its
 * frames may have come back at the station's end.
 */

import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { ETHERTYPE_ECP } from '../../protocols/ethernet/index.ts';
import { toHex } from '../../protocols/octets/index.ts';
import { summarize } from '../cli/ladder.ts';
import { pcapFileHeader, pcapRecord } from '../cli/pcap.ts';
import type { Answer, Question } from './guest.ts';
import { type Guest, interfaceIndex, LabError, program, start } from './namespaces.ts';

export type Direction = 'to switch' | 'to station';

export interface WireFrame {
  /** Milliseconds of the monotonic clock (`now`). */
  time: number;
  direction: Direction;
  octets: Uint8Array;
}

/** Milliseconds of the clock that the lab's programs share. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** The two ends are read by two programs; what they tell is put in order of time before anybody sees it. */
const settle = 30;

interface Happening {
  time: number;
  tell: () => void;
  ecp?: { operation: string; sequence: number; direction: Direction } | undefined;
}

function ecpOf({ octets, direction }: WireFrame): Happening['ecp'] {
  if (((octets[12]! << 8) | octets[13]!) !== ETHERTYPE_ECP) return undefined;
  const { ecp } = summarize(octets).document;
  return ecp && { operation: ecp.operation, sequence: ecp.sequence, direction };
}

/** By time; but an ECP acknowledgement never before its request, which may have been read a moment later elsewhere. */
function inOrder(happenings: Happening[]): Happening[] {
  const sorted = happenings.sort((a, b) => a.time - b.time);
  for (let i = 0; i < sorted.length; i++) {
    const ack = sorted[i]!.ecp;
    if (ack?.operation !== 'ack') continue;
    const late = sorted.findIndex(
      ({ ecp }, j) =>
        j > i &&
        ecp?.operation === 'request' &&
        ecp.sequence === ack.sequence &&
        ecp.direction !== ack.direction,
    );
    if (late > i) sorted.splice(i, 0, ...sorted.splice(late, 1));
  }
  return sorted;
}

/** Everything on the wire: each frame once, read where it arrives. */
export class Wire {
  /** Frames of each source address so far, by direction. */
  readonly #counts: Record<Direction, Map<string, number>> = {
    'to switch': new Map(),
    'to station': new Map(),
  };
  readonly #ends: ChildProcessWithoutNullStreams[] = [];
  readonly #synced = new Map<string, () => void>();
  #pending: Happening[] = [];
  #marks = 0;
  #pcap: number | undefined;
  readonly #onFrame: (frame: WireFrame) => void;
  readonly #onFailure: (error: LabError) => void;

  /** `onFailure`: what reads the wire has ended, so nothing can be proved any more. */
  constructor(
    pcap: number | undefined,
    onFrame: (frame: WireFrame) => void,
    onFailure: (error: LabError) => void,
  ) {
    this.#onFrame = onFrame;
    this.#onFailure = onFailure;
    this.#pcap = pcap;
    if (pcap !== undefined) fs.writeSync(pcap, pcapFileHeader());
    setInterval(() => this.#tell(now() - settle), 10).unref();
  }

  async open(): Promise<void> {
    await Promise.all([
      this.#read('station', 'eth1', 'to station'),
      this.#read('switch', 'swp1', 'to switch'),
    ]);
  }

  async #read(namespace: string, name: string, direction: Direction): Promise<void> {
    const index = await interfaceIndex(namespace, name);
    const child = start(namespace, [process.execPath, program('lab/sniffer.js'), String(index)]);
    this.#ends.push(child);
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors += text;
    });
    await new Promise<void>((resolve) => {
      child.on('close', (code) =>
        this.#onFailure(
          new LabError(`the capture on ${name} ended (exit ${code})`, errors.trim().split('\n')),
        ),
      );
      createInterface({ input: child.stdout }).on('line', (line) => {
        const [first, hex] = line.split(' ');
        if (line === 'ready') resolve();
        else if (first === 'sync') this.#synced.get(`${direction} ${hex}`)?.();
        else {
          const frame = { time: Number(BigInt(first!)) / 1e6, direction, octets: Buffer.from(hex!, 'hex') };
          const source = toHex(frame.octets.subarray(6, 12));
          this.#counts[direction].set(source, (this.#counts[direction].get(source) ?? 0) + 1);
          this.#pending.push({ time: frame.time, tell: () => this.#pass(frame), ecp: ecpOf(frame) });
        }
      });
    });
  }

  /** Something else that happened at `time`, to be told in order with the frames. */
  note(time: number, tell: () => void): void {
    this.#pending.push({ time, tell });
  }

  /** Tells what has been read, without waiting for what may still come. */
  tellAll(): void {
    this.#tell(Number.POSITIVE_INFINITY);
  }

  #tell(until: number): void {
    const due = inOrder(this.#pending.filter(({ time }) => time <= until));
    this.#pending = this.#pending.filter(({ time }) => time > until);
    for (const { tell } of due) tell();
  }

  #pass(frame: WireFrame): void {
    if (this.#pcap !== undefined) {
      const timeOfDay = performance.timeOrigin + performance.now() - now() + frame.time;
      fs.writeSync(this.#pcap, pcapRecord(timeOfDay / 1000, frame.octets));
    }
    this.#onFrame(frame);
  }

  /** Resolves when every frame that has arrived by now is counted and told. */
  async settled(): Promise<void> {
    const mark = String(this.#marks++);
    const done = (['to station', 'to switch'] as const).map(
      (direction) => new Promise<void>((resolve) => this.#synced.set(`${direction} ${mark}`, resolve)),
    );
    for (const child of this.#ends) child.stdin.write(`sync ${mark}\n`);
    await Promise.all(done);
    this.tellAll();
  }

  /** Frames from this address so far. */
  count(direction: Direction, mac: string): number {
    return this.#counts[direction].get(mac.replaceAll(':', '')) ?? 0;
  }
}

export interface Reach {
  pairs: number;
  /** Pairs (who asked, who answered). */
  answered: [string, string][];
  /** Milliseconds until the slowest answer; absent when there was none. */
  slowest?: number;
  /** Per guest: frames that it sent over the wire, and those of them that the switch sent back. */
  frames: { guest: string; sent: number; reflected: number }[];
}

/** The guests' applications. */
export class GuestPrograms {
  readonly #wire: Wire;
  readonly #guests: readonly Guest[];
  readonly #ask = new Map<string, (question: Question) => void>();
  readonly #questions = new Map<string, (answer: Answer) => void>();
  readonly #onFailure: (error: LabError) => void;
  #asked = 0;

  constructor(wire: Wire, guests: readonly Guest[], onFailure: (error: LabError) => void) {
    this.#wire = wire;
    this.#guests = guests;
    this.#onFailure = onFailure;
  }

  async start(): Promise<void> {
    await Promise.all(this.#guests.map((guest) => this.#start(guest)));
  }

  async #start(guest: Guest): Promise<void> {
    const child = start(guest.name, [process.execPath, program('lab/guest.js'), guest.address]);
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors += text;
    });
    await new Promise<void>((resolve) => {
      child.on('close', (code) =>
        this.#onFailure(
          new LabError(`${guest.name}'s program ended (exit ${code})`, errors.trim().split('\n')),
        ),
      );
      createInterface({ input: child.stdout }).on('line', (line) => {
        const said = JSON.parse(line);
        if (said.ready) {
          this.#ask.set(guest.name, (question) => child.stdin.write(`${JSON.stringify(question)}\n`));
          resolve();
        } else this.#questions.get(`${guest.name} ${said.id}`)?.(said);
      });
    });
  }

  /**
   * Every guest asks every other. `patience`: for how long those who have not got all their answers go on asking.
   */
  async reach(patience: number): Promise<Reach> {
    const guests = this.#guests;
    const interval = 60;
    await this.#wire.settled();
    const counts = () =>
      guests.map(({ mac }) => ({
        sent: this.#wire.count('to switch', mac),
        reflected: this.#wire.count('to station', mac),
      }));
    const before = counts();
    const id = ++this.#asked;
    const answers = await Promise.all(
      guests.map(({ name, address }) => {
        const targets = guests.map((other) => other.address).filter((other) => other !== address);
        const tries = Math.ceil(patience / interval);
        const answer = new Promise<Answer>((resolve) => this.#questions.set(`${name} ${id}`, resolve));
        this.#ask.get(name)?.({
          id,
          targets,
          token: `${id}.${Math.random().toString(36).slice(2)}`,
          tries,
          interval,
        });
        return answer;
      }),
    );
    await this.#wire.settled();
    const after = counts();
    const answered = answers.flatMap(({ answered }, i) =>
      Object.keys(answered).map((address): [string, string] => [
        guests[i]!.name,
        guests.find((guest) => guest.address === address)?.name ?? address,
      ]),
    );
    const times = answers.flatMap(({ answered }) => Object.values(answered));
    return {
      pairs: guests.length * (guests.length - 1),
      answered,
      ...(times.length > 0 ? { slowest: Math.max(...times) } : {}),
      frames: guests.map(({ name }, i) => ({
        guest: name,
        sent: after[i]!.sent - before[i]!.sent,
        reflected: after[i]!.reflected - before[i]!.reflected,
      })),
    };
  }
}
