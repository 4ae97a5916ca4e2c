import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  type FilterEntry,
  type VdpHint,
  type VdpRequest,
  VSIID_UUID,
  type VsiCommand,
  vsiKey,
} from '../../protocols/vdp/index.ts';
import { OWNER } from './host.ts';
import type { Pair } from './pair.ts';
import type { Random } from './random.ts';

export interface Ticket {
  pair: Pair;
  key: string;
  /** undefined: the VSI is to end. */
  command: VsiCommand | undefined;
  /** What was wished before. */
  before: VsiCommand | undefined;
  done: () => void;
}

/** People who want VSIs, change their minds and move guests about. */
export class Users {
  readonly tickets = new Map<number, Ticket>();
  readonly #pairs: readonly Pair[];
  readonly #random: Random;
  readonly #guests: number;
  #next = 1;

  constructor(pairs: readonly Pair[], random: Random, guests: number) {
    this.#pairs = pairs;
    this.#random = random;
    this.#guests = guests;
  }

  /** One wish of somebody. */
  act(): void {
    const random = this.#random;
    const pair = random.pick(this.#pairs);
    const n = random.integer(1, this.#guests);
    const wished = [...pair.wishes.keys()];
    const what = random.next();
    if (what < 0.5) this.ask(pair, this.#command(n));
    else if (what < 0.6) {
      // Two at once: one of them is overtaken.
      this.ask(pair, this.#command(n));
      this.ask(pair, this.#command(n));
    } else if (wished.length === 0) this.ask(pair, this.#command(n));
    else if (what < 0.85) this.give(pair, random.pick(wished));
    else this.#move(pair, random.pick(wished));
  }

  ask(pair: Pair, command: VsiCommand, done = () => {}): void {
    const host = pair.station;
    const { machine } = host;
    const key = vsiKey(command);
    if (machine === undefined || host.frozen || machine.objection(command, OWNER) !== undefined) return;
    host.wish(key, command, () => {
      if (machine.objection(command, OWNER) !== undefined) {
        host.makeDurable(key);
        return;
      }
      const ticket = this.#ticket({ pair, key, command, before: pair.wishes.get(key), done });
      pair.wishes.set(key, command);
      pair.denied.delete(key);
      pair.trace(`user wants ${command.request} ${key} as ${ticket}`);
      host.perform(machine.want(command, OWNER, '', ticket, host.now));
    });
  }

  give(pair: Pair, key: string, done = () => {}): void {
    const host = pair.station;
    const { machine } = host;
    if (machine === undefined || host.frozen || !machine.vsis.has(key)) return;
    host.wish(key, undefined, () => {
      pair.wishes.delete(key);
      if (!machine.vsis.has(key)) return;
      const ticket = this.#ticket({ pair, key, command: undefined, before: undefined, done });
      pair.trace(`user gives up ${key} as ${ticket}`);
      host.perform(machine.unwant(key, ticket, host.now));
    });
  }

  /** Calls of a daemon that died are over. */
  abandon(pair: Pair): void {
    for (const [ticket, { pair: of }] of this.tickets) if (of === pair) this.tickets.delete(ticket);
  }

  #ticket(ticket: Ticket): number {
    const number = this.#next++;
    this.tickets.set(number, ticket);
    return number;
  }

  /** To another station: announced there or not, and awaited here or not. */
  #move(from: Pair, key: string): void {
    const random = this.#random;
    const to = random.pick(this.#pairs);
    const command = from.wishes.get(key)!;
    if (to === from) return;
    const arrive = () => this.ask(to, { ...command, request: 'associate', hint: 'to' });
    if (random.chance(0.5)) this.ask(to, { ...command, request: 'preassociate', hint: 'to' });
    if (random.chance(0.7)) this.give(from, key, arrive);
    else {
      this.give(from, key);
      arrive();
    }
  }

  #command(n: number): VsiCommand {
    const random = this.#random;
    const id = new Uint8Array(16);
    id[15] = n;
    const request: VdpRequest = random.pick([
      'associate',
      'associate',
      'associate',
      'reserve',
      'preassociate',
    ]);
    const hint: VdpHint = random.pick(['none', 'none', 'from', 'to']);
    const profile = random.chance(0.2);
    const filters: FilterEntry[] = [];
    const group = random.chance(0.05) ? random.integer(1, 3) : undefined;
    for (let entry = 0; entry < random.pick([1, 1, 1, 2, 3]); entry++) {
      const filter: FilterEntry = {
        mac: macOf(n, entry + random.integer(0, 1)),
        vid: profile ? 0 : 10 + entry,
      };
      if (group !== undefined) filter.group = group;
      filters.push(filter);
    }
    return {
      request,
      manager: new Uint8Array(16),
      type: profile ? 2 : random.pick([1, 1, 3]),
      typeVersion: 1,
      idFormat: VSIID_UUID,
      id,
      filters: distinct(filters),
      hint,
    };
  }
}

function macOf(guest: number, variant: number): MacAddress {
  const octet = (n: number) => n.toString(16).padStart(2, '0');
  return `52:54:00:00:${octet(guest)}:${octet(variant)}` as MacAddress;
}

function distinct(filters: FilterEntry[]): FilterEntry[] {
  return filters.filter(
    (filter, at) => filters.findIndex(({ mac, vid }) => mac === filter.mac && vid === filter.vid) === at,
  );
}
