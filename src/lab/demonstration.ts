/**
 * The proof, step by step: guests have no reach before, none when the relay is negotiated but they are not associated,
 * reach when they are, and none again when they are de-associated. Every step drives evbd with evbctl, as a user would.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { ETHERTYPE_ECP, ETHERTYPE_LLDP } from '../../protocols/ethernet/index.ts';
import { macFromOctets } from '../../protocols/octets/index.ts';
import { Host, profile } from './daemons.ts';
import { type Display, type ReachRow, totals } from './display.ts';
import { watchPort } from './kernel-events.ts';
import { build, type Guest, guestsOf, hairpinMode, LabError, stationMac } from './namespaces.ts';
import { GuestPrograms, now, type Reach, Wire } from './traffic.ts';

export interface Step {
  name: string;
  ok: boolean;
  ms: number;
  /** Not tried, because an earlier step did not hold. */
  skipped?: true;
  error?: string;
}

/** The document of `npm run lab -- --json`. */
export interface Result {
  ok: boolean;
  steps: Step[];
  relay: {
    /** Whether the kernel's hairpin mode was on while the relay was negotiated. */
    hairpin: boolean;
    /** From the station's first LLDPDU to hairpin mode. */
    negotiatedMs: number | null;
    /** The values of hairpin_mode as they were seen one after the other. */
    hairpinHistory: number[];
  };
  reach: { before: boolean; unassociated: boolean; associated: boolean; deassociated: boolean };
  /** As `evbctl vsi --json` gave them when every guest was associated. */
  vsis: unknown[];
}

/** For how long a guest that gets no answer goes on asking: several rounds of ARP. */
const patience = 400;
/** For how long one that must get an answer may wait for it. */
const deadline = 5000;

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Frames of evbd, as opposed to those of the guests. */
const isProtocol = (octets: Uint8Array): boolean =>
  [ETHERTYPE_LLDP, ETHERTYPE_ECP].includes(((octets[12] ?? 0) << 8) | (octets[13] ?? 0));

const sourceOf = (octets: Uint8Array): string => macFromOctets(octets.subarray(6, 12));

/** A promise that is settled from outside. */
class Gate<T> {
  open!: (value: T) => void;
  fail!: (error: Error) => void;
  readonly passed = new Promise<T>((resolve, reject) => {
    this.open = resolve;
    this.fail = reject;
  });
}

export class Demonstration {
  readonly result: Result = {
    ok: true,
    steps: [],
    relay: { hairpin: false, negotiatedMs: null, hairpinHistory: [] },
    reach: { before: false, unassociated: false, associated: false, deassociated: false },
    vsis: [],
  };
  readonly guests: readonly Guest[];
  readonly station = new Host('station');
  readonly #switch = new Host('switch');
  readonly #display: Display;
  readonly #wire: Wire;
  readonly #programs: GuestPrograms;
  readonly #rows: ReachRow[] = [];
  #firstFrame: number | undefined;
  #echoes = 0;
  #hairpinOn: number | undefined;
  /** The first frame of each side: its daemon is up. */
  readonly #heard = { station: new Gate<void>(), switch: new Gate<void>() };
  /** A program of the lab itself has failed. */
  readonly #broken = new Gate<never>();

  constructor(display: Display, guests: number, pcap: number | undefined) {
    this.#display = display;
    this.guests = guestsOf(guests);
    this.#broken.passed.catch(() => {});
    this.#wire = new Wire(
      pcap,
      ({ time, direction, octets }) => {
        if (!isProtocol(octets)) return;
        if (direction === 'to station' && sourceOf(octets) === stationMac) {
          // With STP off a Linux bridge floods the protocols' group address too, in hairpin mode back to the station.
          if (this.#echoes++ === 0)
            this.#display.event(time, "br0 also echoes the station's frames (not shown)");
          return;
        }
        const from = direction === 'to switch' ? 'station' : 'switch';
        if (from === 'station') this.#firstFrame ??= time;
        this.#heard[from].open();
        this.#display.frame(time, octets);
      },
      this.#broken.fail,
    );
    this.#programs = new GuestPrograms(this.#wire, this.guests, this.#broken.fail);
  }

  async run(): Promise<void> {
    const { reach, relay } = this.result;
    const [first, ...others] = this.guests as [Guest, ...Guest[]];
    this.#display.picture(this.guests);

    await this.#step('build namespaces, veth, bridge and guests', async () => {
      await build(this.guests);
      this.#watchPort();
      await Promise.all([
        this.#wire.open(),
        this.#programs.start(),
        this.station.open(),
        this.#switch.open(),
      ]);
    });

    await this.#step('before: no reach', async () => {
      reach.before = await this.#reach('before', { relay: false, admitted: [], reachable: [] });
    });

    await this.#step('relay negotiated: hairpin mode on', async () => {
      await this.#negotiate();
      if (this.#firstFrame !== undefined && this.#hairpinOn !== undefined) {
        relay.negotiatedMs = Math.round((this.#hairpinOn - this.#firstFrame) * 10) / 10;
        this.#display.fact(`${relay.negotiatedMs} ms from the station's first LLDPDU to hairpin mode`);
      }
    });

    await this.#step('not associated: no reach', async () => {
      reach.unassociated = await this.#reach('relay, none associated', {
        relay: true,
        admitted: [],
        reachable: [],
      });
    });

    await this.#step(`only ${first.name} associated: no reach`, async () => {
      await this.#associate([first]);
      await this.#reach(`relay, ${first.name} associated`, { relay: true, admitted: [first], reachable: [] });
    });

    await this.#step('every guest associated: reach', async () => {
      await this.#associate(others);
      const { stdout } = await this.#evbctl(['vsi', '--json']);
      this.result.vsis = JSON.parse(stdout).vsis;
      reach.associated = await this.#reach('relay, all associated', {
        relay: true,
        admitted: this.guests,
        reachable: this.guests,
      });
    });

    await this.#step(`${first.name} de-associated: out of reach`, async () => {
      await this.#deassociate([first]);
      await this.#reach(`relay, without ${first.name}`, { relay: true, admitted: others, reachable: others });
    });

    await this.#step('every guest de-associated: no reach', async () => {
      await this.#deassociate(others);
      reach.deassociated = await this.#reach('relay, all de-associated', {
        relay: true,
        admitted: [],
        reachable: [],
      });
    });

    await this.#step('relay released: hairpin mode off, no reach', async () => {
      await this.#evbctl(['release', 'eth1']);
      await this.#hairpinBecomes(false);
      await this.#reach('after', { relay: false, admitted: [], reachable: [] });
    });

    await this.#step('both evbd end in order', async () => {
      await this.station.stopDaemon();
      await this.#switch.stopDaemon();
    });

    if (this.#rows.length > 0) this.#display.table(this.#rows);
  }

  /** Relay and associations once more, for a lab that is left running. */
  async again(): Promise<void> {
    await this.#step('left running: relay negotiated, every guest associated', async () => {
      for (const side of ['station', 'switch'] as const) this.#heard[side] = new Gate();
      await this.#negotiate();
      await this.#associate(this.guests);
    });
  }

  async #step(name: string, body: () => Promise<void>): Promise<void> {
    const step: Step = { name, ok: this.result.ok, ms: 0 };
    this.result.steps.push(step);
    if (!step.ok) {
      step.skipped = true;
      this.#display.skipped(name);
      return;
    }
    this.#display.begin(name);
    const began = now();
    try {
      await Promise.race([body(), this.#broken.passed]);
      await Promise.race([this.#wire.settled(), this.#broken.passed]);
    } catch (error) {
      this.#wire.tellAll();
      step.ok = false;
      step.error = message(error);
      this.result.ok = false;
      this.#display.failure(step.error, this.#seen(error));
    }
    step.ms = Math.round((now() - began) * 10) / 10;
    this.#display.end(step.ok, step.ms);
  }

  /** What helps to understand a failure. */
  #seen(error: unknown): string[] {
    const details = error instanceof LabError ? [...error.details] : [(error as Error)?.stack ?? ''];
    for (const host of [this.station, this.#switch]) {
      const tail = host.logTail(12);
      if (tail.length > 0) details.push('', `the end of evbd's log in ${host.side}:`, ...tail);
    }
    return details.filter((line, i) => line !== '' || i > 0);
  }

  #watchPort(): void {
    watchPort((text) => {
      const time = now();
      if (text === 'swp1 hairpin_mode 1') this.#hairpinOn ??= time;
      this.#wire.note(time, () => this.#display.event(time, text));
    });
  }

  async #negotiate(): Promise<void> {
    for (const host of [this.#switch, this.station]) {
      this.#display.command(host.commandLine, host.side);
      host.startDaemon();
      await this.#upAndHeard(host);
    }
    await this.#evbctl(['wait', 'eth1', 'relay']);
    await this.#hairpinBecomes(true);
    await this.#wire.settled();
  }

  /** The daemon is up when its first LLDPDU is on the wire. */
  async #upAndHeard(host: Host): Promise<void> {
    let heard = false;
    this.#heard[host.side].passed.then(() => {
      heard = true;
    });
    for (const until = Date.now() + 10_000; !heard; await pause(5)) {
      host.checkDaemon();
      if (Date.now() > until) throw new LabError(`evbd in ${host.side} has sent nothing for 10 s`);
    }
  }

  async #evbctl(args: string[], input?: string): Promise<{ stdout: string }> {
    if (!args.includes('--json')) this.#display.command(`evbctl ${args.join(' ')}`, 'station');
    const outcome = await this.station.evbctl(args, input);
    if (outcome.code !== 0) {
      const said = `${outcome.stdout}${outcome.stderr}`.trim().split('\n');
      throw new LabError(`evbctl ${args.join(' ')}: exit ${outcome.code}`, said);
    }
    return outcome;
  }

  async #associate(guests: readonly Guest[]): Promise<void> {
    if (guests.length === 1) {
      await this.#evbctl(['associate', 'eth1', '--mac', guests[0]!.mac, '--vlan', '0', '--profile', profile]);
      return;
    }
    const lines = guests.map(({ mac }) => JSON.stringify({ mac, vlan: 0, profile }));
    await this.#evbctl(['associate', 'eth1', '--from', '-'], `${lines.join('\n')}\n`);
  }

  async #deassociate(guests: readonly Guest[]): Promise<void> {
    const { stdout } = await this.#evbctl(['vsi', '--json']);
    const vsis: { id: string; filters: { mac?: string }[] }[] = JSON.parse(stdout).vsis;
    for (const guest of guests) {
      const vsi = vsis.find(({ filters }) => filters.some(({ mac }) => mac === guest.mac));
      if (!vsi) throw new LabError(`evbctl vsi shows no VSI with ${guest.name}'s address ${guest.mac}`);
      await this.#evbctl(['deassociate', vsi.id]);
    }
  }

  async #hairpin(): Promise<boolean> {
    const mode = await hairpinMode();
    const history = this.result.relay.hairpinHistory;
    if (history.at(-1) !== Number(mode)) history.push(Number(mode));
    return mode;
  }

  async #hairpinBecomes(wanted: boolean): Promise<void> {
    for (const until = Date.now() + 2000; (await this.#hairpin()) !== wanted; await pause(10)) {
      if (Date.now() > until)
        throw new LabError(`hairpin_mode of swp1 is ${wanted ? 0 : 1}, not ${Number(wanted)}`);
    }
    if (wanted) this.result.relay.hairpin = true;
  }

  /**
   * Lets all guests ask each other and compares with what must be: `admitted` guests' frames come back from the switch
   * and nobody else's do; those in `reachable` reach each other, and nobody else is reached. Throws when it is
   * otherwise; resolves with whether anybody was reached.
   */
  async #reach(
    when: string,
    expected: { relay: boolean; admitted: readonly Guest[]; reachable: readonly Guest[] },
  ): Promise<boolean> {
    const hairpin = await this.#hairpin();
    if (hairpin !== expected.relay) throw new LabError(`hairpin_mode of swp1 is ${Number(hairpin)} now`);
    const admitted = new Set(expected.admitted.map(({ name }) => name));
    const reachable = new Set(expected.reachable.map(({ name }) => name));
    const wanted = reachable.size * (reachable.size - 1);
    const all = wanted === this.guests.length * (this.guests.length - 1);
    let reach: Reach;
    for (const until = Date.now() + deadline; ; ) {
      reach = await this.#programs.reach(all ? deadline : patience);
      const wrong = reach.answered.find((pair) => !pair.every((name) => reachable.has(name)));
      if (wrong) throw new LabError(`${wrong[0]} reached ${wrong[1]}, which must not be possible now`);
      if (reach.answered.length === wanted || Date.now() > until) break;
    }
    const { sent, reflected } = totals(reach);
    const back = reflected === 0 ? 'none of them came back' : `${reflected} came back`;
    const slowest = reach.slowest === undefined ? '' : ` within ${reach.slowest.toFixed(1)} ms`;
    this.#display.fact(
      `${reach.answered.length} of ${reach.pairs} pairs reach each other${slowest}; ${sent} frames of guests were seen at swp1, ` +
        `${back} to eth1; hairpin_mode ${Number(hairpin)}`,
    );
    this.#rows.push({ when, hairpin, reach });
    if (reach.answered.length !== wanted) {
      throw new LabError(`${reach.answered.length} pairs of guests reach each other, not ${wanted}`);
    }
    for (const frames of reach.frames) {
      if (frames.sent === 0) throw new LabError(`${frames.guest} has sent nothing: that proves nothing`);
      if (admitted.has(frames.guest) !== frames.reflected > 0) {
        throw new LabError(
          `${frames.reflected} frames of ${frames.guest} came back from the switch, which ` +
            (admitted.has(frames.guest) ? 'must reflect them' : 'must not reflect them'),
        );
      }
    }
    return reach.answered.length > 0;
  }
}
