import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { runSeeds } from './pool.ts';
import type { Run } from './run.ts';

/** A fault that somebody could make in the machines; the simulation has to catch it. */
export interface Fault {
  /** What the machine then does wrong. */
  name: string;
  file: string;
  /** Text that is there once, and what it is replaced with. */
  from: string;
  to: string;
  /** A seed that caught it once. Which seeds do changes with the simulation; it is only tried first. */
  seed: number;
}

/** Seeds within which each has to be caught. */
export const SEEDS_MAX = 200;

export const FAULTS: Fault[] = [
  {
    name: 'ECP: a duplicate is handed to VDP once more',
    file: 'protocols/ecp/receiver.ts',
    from: 'if (duplicate) {',
    to: 'if (duplicate && false) {',
    seed: 3,
  },
  {
    name: 'ECP: not begun anew with a new peer',
    file: 'src/port/port.ts',
    from: `    this.#receiver.reset(this.#dialect.ecp);
    this.#transmitter.reset(this.#dialect.ecp);`,
    to: '',
    seed: 3,
  },
  {
    name: 'ECP: an acknowledgement of another request counts',
    file: 'protocols/ecp/transmitter.ts',
    from: 'this.#numbers.includes(sequence)',
    to: 'this.#numbers.length > 0',
    seed: 7,
  },
  {
    name: 'ECP: no request is sent twice',
    file: 'protocols/ecp/transmitter.ts',
    from: 'if (this.#attempts <= this.timing.maxRetries) {',
    to: 'if (this.#attempts <= 0) {',
    seed: 1,
  },
  {
    name: 'VDP station: a VSI is believed in force without an answer',
    file: 'protocols/vdp/station.ts',
    from: `this.#init('timeout', 'no answer of the bridge within respWaitDelay', now);`,
    to: '(this.operCmd ??= this.sysCmd, (this.vsiState = VSI_STATE[this.sysCmd!.request]), this.#waitSystemCmd(now));',
    seed: 1,
  },
  {
    name: 'VDP station: keepalives are not sent',
    file: 'protocols/vdp/station.ts',
    from: `    this.#enter('TRANSMIT_KEEPALIVE', now + this.timers.respWaitDelay);
    return [{ kind: 'send', command: this.operCmd! }];`,
    to: `    this.#enter('WAIT_SYSTEM_CMD', now + this.timers.reinitKeepAlive);
    return [];`,
    seed: 1,
  },
  {
    name: 'VDP station: an unsolicited DeAssociate is overheard',
    file: 'protocols/vdp/station.ts',
    from: `        return this.#init('bridge', 'the bridge deassociated the VSI', now, status);
      case 'STATION_PROCESSING':`,
    to: `        return [];
      case 'STATION_PROCESSING':`,
    seed: 6,
  },
  {
    name: 'VDP station: a command that came meanwhile is forgotten',
    file: 'protocols/vdp/station.ts',
    from: 'this.#queued = same ? undefined : command;',
    to: 'this.#queued = undefined;',
    seed: 5,
  },
  {
    name: 'VDP station: the attributes of a confirmation are not compared',
    file: 'protocols/vdp/station.ts',
    from: `    if (!sameAttributes(asked, commandOf(tlv, manager))) {
      const reason = 'the bridge confirmed another type, manager or filter than asked';
      return [this.#deassociateUnheard(asked), ...this.#init('mismatch', reason, now, status)];
    }
    // PREASSOC_NEW`,
    to: '    // PREASSOC_NEW',
    seed: 3,
  },
  {
    name: 'VDP bridge: a silent station keeps its VSIs',
    file: 'protocols/vdp/bridge.ts',
    from: 'this.#deadline = now + this.timers.toutKeepAlive;',
    to: 'this.#deadline = now + 1e9;',
    seed: 7,
  },
  {
    name: 'VDP bridge: keepalives do not keep alive',
    file: 'protocols/vdp/bridge.ts',
    from: `      this.#answer(command, 0),
      ...this.#waitStationCmd(now),
    ];
  }

  #keep(`,
    to: `      this.#answer(command, 0),
    ];
  }

  #keep(`,
    seed: 1,
  },
  {
    name: 'VDP bridge: a request that came meanwhile is forgotten',
    file: 'protocols/vdp/bridge.ts',
    from: 'this.#queued = command;',
    to: 'this.#queued = undefined;',
    seed: 41,
  },
  {
    name: 'VDP bridge: the loss of the station ends nothing',
    file: 'protocols/vdp/bridge.ts',
    from: `    this.#queued = undefined;
    return this.#end(reason, now);`,
    to: `    this.#queued = undefined;
    return reason === '' ? this.#end(reason, now) : [];`,
    seed: 3,
  },
  {
    name: 'EVB station: a restart of the bridge is not noticed',
    file: 'protocols/evb/station.ts',
    from: 'if (this.#echoed && isBlank(echo)) return',
    to: 'if (this.#echoed && isBlank(echo) && echo.sgid) return',
    seed: 7,
  },
  {
    name: 'EVB: parameters ratchet, a value once raised stays up',
    file: 'protocols/evb/negotiation.ts',
    from: 'return known < value || claimed === value ? known : 0;',
    to: 'return value;',
    seed: 55,
  },
  {
    name: 'EVB bridge: relay is promised before hairpin is on',
    file: 'protocols/evb/bridge.ts',
    from: 'return this.#policy.always || this.#applied;',
    to: 'return this.#policy.always || this.relayWanted;',
    seed: 3,
  },
  {
    name: 'LLDP: a neighbour never ages',
    file: 'protocols/lldp-agent/agent.ts',
    from: 'expires: now + lldpdu.ttl * SECOND }, known)',
    to: 'expires: now + 1e9 }, known)',
    seed: 16,
  },
  {
    name: 'LLDP: a change is not told at once',
    file: 'protocols/lldp-agent/agent.ts',
    from: 'if (this.#localChange) this.#signalTx();',
    to: 'if (this.#localChange) this.#localChange = false;',
    seed: 4,
  },
  {
    name: 'Bridge: an association is confirmed before the kernel lets it in',
    file: 'src/bridge/bridge.ts',
    from: 'if (!macs.every((mac) => this.#admitted.has(mac))) return [];',
    to: '',
    seed: 3,
  },
  {
    name: 'Station: what is in force is not asked again when the bridge is back',
    file: 'src/station/station.ts',
    from: 'effects.push(...this.#fromMachine(vsi, vsi.machine.refresh(now), now), ...this.#askWanted(vsi, now));',
    to: '',
    seed: 3,
  },
  {
    name: 'Port: who is the EVB peer first stays it, though he does not hear us',
    file: 'src/port/peer-choice.ts',
    from: 'if (hearing === undefined || this.#onTrial || this.#shown) return { peer: present };',
    to: 'if (this.key !== undefined) return { peer: present };',
    seed: 53,
  },
];

/** The first run that catches the fault; undefined when none of the seeds does. */
export async function hunt(fault: Fault, root: string): Promise<Run | undefined> {
  const folder = mkdtempSync(path.join(made(path.join(root, 'build')), 'planted-'));
  try {
    const worker = compiled(fault, root, folder);
    const others = Array.from({ length: SEEDS_MAX }, (_, n) => n + 1).filter((seed) => seed !== fault.seed);
    for (const seeds of [[fault.seed], others]) {
      const { violations } = await runSeeds(seeds, worker, (soFar) => soFar.violations.length > 0);
      if (violations[0] !== undefined) return violations[0];
    }
    return undefined;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Where the worker of a copy with the fault is. */
function compiled({ name, file, from, to }: Fault, root: string, folder: string): URL {
  const sources = path.join(folder, 'sources');
  for (const part of ['protocols', 'src', 'test/simulation', 'tsconfig.json']) {
    cpSync(path.join(root, part), path.join(sources, part), { recursive: true });
  }
  const faulty = path.join(sources, file);
  const text = readFileSync(faulty, 'utf8');
  const parts = text.split(from);
  if (parts.length !== 2) {
    const found = parts.length === 1 ? 'is not there any more' : `is there ${parts.length - 1} times`;
    throw new Error(
      `planted fault "${name}": its text ${found} in ${file}; test/simulation/planted.ts mends it`,
    );
  }
  writeFileSync(faulty, parts.join(to));
  const compiler = path.join(root, 'node_modules/typescript/bin/tsc');
  const project = path.join(sources, 'test/simulation/tsconfig.json');
  const outDir = path.join(folder, 'made');
  // What a fault leaves unused, or unreachable, is no mistake here.
  const words = [compiler, '-p', project, '--noCheck', '--outDir', outDir];
  const { status, stdout } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`planted fault "${name}" does not compile: ${stdout}`);
  return pathToFileURL(path.join(outDir, 'test/simulation/worker.js'));
}

function made(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return folder;
}
