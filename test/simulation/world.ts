import type { EvbError } from '../../src/model.ts';
import { Checks } from './checks.ts';
import { KernelBridge } from './kernel.ts';
import { Pair } from './pair.ts';
import { answerTime, dialectOf, type Plan, promptTime, recoveryTime } from './plan.ts';
import { Random } from './random.ts';
import { Timeline } from './timeline.ts';
import { Users } from './users.ts';
import { fail, Violation } from './violation.ts';
import { Witness } from './witness.ts';
import type { Side, Word } from './words.ts';

export interface Outcome {
  seed: number;
  events: number;
  frames: number;
  /** Virtual milliseconds. */
  time: number;
  violation: Violation | undefined;
  /** Reasons for which wishes ended. */
  dropped: string[];
}

/** Events of one link in a virtual second; more is a loop. */
const EVENTS_MAX = 5_000;
/** A machine may be due again at the same moment, but not for ever. */
const SAME_MOMENT_MAX = 1_000;
const SECOND = 1_000;

/** Stations and bridges, the real machines, among faults and users; one seed is one history. */
export class World {
  readonly plan: Plan;
  readonly timeline = new Timeline();
  readonly pairs: Pair[];
  readonly users: Users;
  readonly checks: Checks;
  /** To be told of all that the machines are called for. */
  readonly witness: Witness;
  events = 0;
  readonly #tell: ((line: string) => void) | undefined;
  #turmoil = true;
  #windowEnds = 0;
  #windowEvents = 0;
  #sameMoment = 0;

  /** `trace` is given all that happens, a line each. */
  constructor(plan: Plan, trace?: (line: string) => void) {
    this.plan = plan;
    this.#tell = trace;
    const { seed } = plan;
    const { timeline } = this;
    const kernels = [new KernelBridge(), new KernelBridge()];
    const random = new Random(seed, 2);
    let reading: { pair: Pair; side: Side } | undefined;
    const watcher = {
      tracing: trace !== undefined,
      trace: (pair: Pair, text: string) => this.#trace(pair, text),
      settled: (pair: Pair, ticket: number, error: EvbError | undefined) => {
        this.#trace(pair, `ticket ${ticket}: ${error?.message ?? 'done'}`);
        this.checks.settled(pair, ticket, error);
      },
      sent: (pair: Pair, from: Side, words: readonly Word[]) => this.checks.sent(pair, from, words),
      reads: (pair: Pair, side: Side) => {
        reading = { pair, side };
      },
      recalled: (pair: Pair, unheard: ReadonlySet<string>) => this.checks.recalled(pair, unheard),
      shown: (pair: Pair, key: string, text: string) => this.#trace(pair, `${key} ${text}`),
    };
    this.pairs = plan.pairs.map(
      ({ kernel }, index) => new Pair(index, plan, kernels[kernel]!, timeline, random, watcher),
    );
    this.users = new Users(this.pairs, new Random(seed, 3), plan.guests);
    this.checks = new Checks(this.pairs, this.users);
    this.witness = new Witness({
      peerRestarted: (evb) => {
        for (const pair of this.pairs) if (pair.station.machine?.evb === evb) this.checks.peerRestarted(pair);
      },
      indicated: (ulpdu) => this.checks.indicated(reading!.pair, reading!.side, ulpdu),
    });
  }

  run(): Outcome {
    let violation: Violation | undefined;
    try {
      this.#history();
    } catch (error) {
      violation = error instanceof Violation ? error : new Violation((error as Error).stack ?? String(error));
    }
    return {
      seed: this.plan.seed,
      events: this.events,
      frames: this.pairs.reduce((sum, { frames }) => sum + frames, 0),
      time: this.timeline.now,
      violation,
      dropped: this.checks.reasons,
    };
  }

  #history(): void {
    const { plan, pairs } = this;
    for (const pair of pairs) {
      pair.bridge.start(true);
      pair.station.start(true);
      this.#disturb(pair);
    }
    const random = new Random(plan.seed, 4);
    const act = () => {
      if (!this.#turmoil) return;
      this.users.act();
      this.timeline.in(random.pause(plan.userPause), act);
    };
    this.timeline.in(random.pause(plan.userPause), act);
    this.pass(plan.turmoil);
    this.#turmoil = false;
    for (const pair of pairs) pair.calm();
    this.pass(Math.max(...pairs.map((pair) => recoveryTime(plan, pair.plan))));
    this.#agree('after the faults');
    this.#askAgain();
    this.pass(Math.max(...plan.pairs.map(answerTime)));
    this.#agree('after what had been refused was asked for again');
    this.#rest();
    this.#replace();
    this.#loseState();
  }

  /** What was refused in the turmoil is asked for in the calm, where nothing speaks against it. */
  #askAgain(): void {
    for (const { pair, key, command } of this.checks.dropped.splice(0)) {
      const elsewhere = this.pairs.some(
        (other) => other.port.bridge === pair.port.bridge && other.wishes.has(key),
      );
      const full = pair.wishes.size >= pair.plan.bridgeVsis;
      const grouped = command.filters.some(({ group }) => group !== undefined);
      if (!elsewhere && !full && !grouped) this.users.ask(pair, command);
      this.pass(1);
    }
  }

  #agree(when: string): void {
    for (const pair of this.pairs) {
      const wrong = this.checks.disagreements(pair);
      if (wrong.length > 0) fail(pair, `${when}: ${wrong.join('; ')}`);
    }
  }

  /** Where all agree nothing happens but keepalives and LLDPDUs, whoever else says what the peers say. */
  #rest(): void {
    const shows = this.pairs.map((pair) => pair.shows);
    const random = new Random(this.plan.seed, 6);
    for (const pair of this.pairs) {
      for (const to of ['station', 'bridge'] as const)
        for (let n = 0; n < 9; n++) pair.strange(to, random, true);
    }
    this.pass(2 * Math.max(...this.plan.pairs.map(answerTime)));
    this.#agree('at rest');
    this.pairs.forEach((pair, at) => {
      if (pair.shows !== shows[at]) fail(pair, 'a VSI changes although nothing happens');
    });
  }

  /** Daemons killed and started again with what they had stored: nobody on the other side notices. */
  #replace(): void {
    for (const pair of this.pairs) {
      const { shows } = pair;
      pair.bridge.kill(false);
      pair.bridge.start(true);
      this.pass(promptTime(pair.plan));
      if (pair.shows !== shows) fail(pair, 'the station notices that a bridge was replaced');
      const before = [...pair.bridge.machine!.vsis.values()];
      pair.station.kill(false);
      pair.startStation();
      this.pass(promptTime(pair.plan));
      for (const vsi of before) {
        if (pair.bridge.machine!.vsis.get(vsi.key) !== vsi)
          fail(pair, `${vsi.key} did not outlive a daemon of the station`);
      }
    }
    this.#agree('after daemons were replaced');
  }

  /** A bridge that has forgotten everything: where its station can see that, all is in force again at once. */
  #loseState(): void {
    // A station that was replaced itself must have heard its own status echoed once.
    this.pass((this.plan.lldp.msgTxInterval + 1) * SECOND);
    for (const pair of this.pairs) {
      pair.bridge.kill(true);
      pair.bridge.start(true);
      const { sgid, rrreq, rrstat } = pair.station.machine!.ratified.tlv.stationStatus;
      // Who insists on no dialect and has forgotten all begins with the standard.
      const visible =
        dialectOf(pair.plan) === 'ratified'
          ? sgid || rrreq || rrstat !== 0
          : pair.plan.bridgeProtocol === 'draft';
      this.pass(visible ? promptTime(pair.plan) : recoveryTime(this.plan, pair.plan));
    }
    this.#agree('after the bridges had lost their state');
  }

  pass(milliseconds: number): void {
    const { timeline, pairs } = this;
    const until = timeline.now + milliseconds;
    for (;;) {
      let due = timeline.next;
      let host: Pair['station'] | Pair['bridge'] | undefined;
      for (const { station, bridge } of pairs) {
        if (station.due < due) [due, host] = [station.due, station];
        if (bridge.due < due) [due, host] = [bridge.due, bridge];
      }
      if (due > until) break;
      this.#count(due);
      if (due > timeline.now) timeline.now = due;
      if (host === undefined) timeline.step();
      else host.advance();
      for (const pair of pairs) {
        if (!pair.dirty) continue;
        pair.dirty = false;
        this.checks.look(pair);
      }
    }
    timeline.now = until;
  }

  #count(due: number): void {
    this.events++;
    this.#sameMoment = due > this.timeline.now ? 0 : this.#sameMoment + 1;
    if (this.#sameMoment > SAME_MOMENT_MAX) fail(undefined, 'time stands still');
    if (due >= this.#windowEnds) {
      this.#windowEnds = due + SECOND;
      this.#windowEvents = 0;
    }
    if (++this.#windowEvents > EVENTS_MAX * this.pairs.length)
      fail(undefined, 'more events in a second than there can be');
  }

  /** Everything that goes wrong by itself at this link, each with its own clock. */
  #disturb(pair: Pair): void {
    const { plan } = pair;
    const { faults } = plan;
    const random = new Random(this.plan.seed, 10 + pair.index);
    const every = (pause: number, happen: () => void) => {
      if (pause === 0) return;
      const again = () => {
        if (!this.#turmoil) return;
        happen();
        this.timeline.in(random.pause(pause), again);
      };
      this.timeline.in(random.pause(pause), again);
    };
    const later = (low: number, high: number, happen: () => void) =>
      // Mostly short, sometimes long: a logarithmic scale.
      this.timeline.in(low * (high / low) ** random.next(), () => {
        if (this.#turmoil) happen();
      });
    const { station, bridge } = pair;

    every(faults.flap, () => {
      if (!pair.carrier) return;
      pair.setCarrier(false);
      later(5, 20_000, () => pair.setCarrier(true));
      // Each side notices by itself, or not at all when it was short.
      for (const host of [station, bridge]) {
        const look = () => host.carrier(pair.carrier);
        for (let n = 0; n < 200; n += 100) this.timeline.in(random.between(0, 20) + n, look);
      }
    });
    every(SECOND, () => {
      station.carrier(pair.carrier);
      bridge.carrier(pair.carrier);
    });
    every(faults.restartStation, () => {
      if (station.machine === undefined) return;
      const stateLost = random.chance(faults.stateLost);
      this.#trace(pair, `station killed${stateLost ? ', all forgotten' : ''}`);
      station.kill(stateLost);
      this.users.abandon(pair);
      later(5, 60_000, () => pair.startStation());
    });
    every(faults.restartBridge, () => {
      if (bridge.machine === undefined) return;
      const stateLost = random.chance(faults.stateLost);
      this.#trace(pair, `bridge killed${stateLost ? ', all forgotten' : ''}`);
      bridge.kill(stateLost);
      later(5, 60_000, () => {
        if (bridge.machine === undefined) bridge.start(pair.carrier);
      });
    });
    for (const [pause, host] of [
      [faults.freezeStation, station],
      [faults.freezeBridge, bridge],
    ] as const) {
      every(pause, () => {
        if (host.frozen) return;
        this.#trace(pair, `${host === station ? 'station' : 'bridge'} frozen`);
        host.freeze();
        later(50, 60_000, () => host.thaw());
      });
    }
    every(faults.deaf, () => {
      pair.deaf = true;
      later(50, 60_000, () => {
        pair.deaf = false;
      });
    });
    every(faults.unbridged, () => {
      if (!pair.port.bridged) return;
      bridge.setBridged(false);
      later(5, 10_000, () => bridge.setBridged(true));
    });
    every(faults.release, () => {
      const host = random.pick([station, bridge]);
      if (host.frozen || !host.linkUp) return;
      this.#trace(pair, `${host === station ? 'station' : 'bridge'} says goodbye`);
      host.release();
      later(5, 20_000, () => host.takeUp());
    });
    every(faults.throwOut, () => {
      const { machine } = bridge;
      if (machine === undefined || bridge.frozen || machine.vsis.size === 0) return;
      const key = random.pick([...machine.vsis.keys()]);
      this.#trace(pair, `administrator throws ${key} out`);
      bridge.perform(machine.remove(key, 'thrown out', bridge.now));
    });
    const strangers = new Random(this.plan.seed, 20 + pair.index);
    const meet = () => {
      if (!this.#turmoil) return;
      const to = strangers.pick(['station', 'bridge'] as const);
      for (let n = strangers.pick([1, 1, 2, 10]); n > 0; n--) pair.strange(to, strangers);
      this.timeline.in(strangers.pause(faults.stranger), meet);
    };
    if (faults.stranger > 0) this.timeline.in(strangers.pause(faults.stranger), meet);
    every(faults.policy, () => {
      const changed = random.integer(0, 6);
      this.#trace(pair, `policy ${changed}`);
      if (changed === 0) {
        const reflectiveRelay = random.pick(['allow', 'deny', 'always'] as const);
        bridge.setPolicy({ ...bridge.policy, reflectiveRelay });
      } else if (changed === 1) {
        const reflectiveRelay = random.pick(['request', 'off', 'assume'] as const);
        station.setPolicy({ ...station.policy, reflectiveRelay });
      } else if (changed === 2) bridge.setPolicy({ ...bridge.policy, evb: !bridge.policy.evb });
      else if (changed === 3) station.setPolicy({ ...station.policy, evb: !station.policy.evb });
      else if (changed === 4) {
        const proposal = random.pick([plan.otherProposal, plan.stationProposal]);
        station.setPolicy({ ...station.policy, proposal });
      } else if (changed === 5) {
        const proposal = random.pick([plan.otherProposal, plan.bridgeProposal]);
        bridge.setPolicy({ ...bridge.policy, proposal });
      } else {
        const admission = random.pick(['open', 'profiles'] as const);
        bridge.setPolicy({ ...bridge.policy, admission });
      }
    });
  }

  #trace(pair: Pair, text: string): void {
    this.#tell?.(`${(this.timeline.now / SECOND).toFixed(5).padStart(11)} ${pair.index} ${text}`);
  }
}
