#!/usr/bin/env node
import { mkdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { parseCapabilities } from './capabilities.ts';
import { ConfigError, loadConfig } from './config/config.ts';
import { BusError } from './dbus/connection.ts';
import { KernelError } from './kernel/kernel-error.ts';
import type { Daemon } from './model.ts';
import type { DaemonOptions } from './runtime/daemon.ts';
import type { Log } from './runtime/link-driver.ts';
import { Store, StoreError } from './store/store.ts';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
/** sysexits.h: EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG. */
const EXIT_NO_BUS = 69;
const EXIT_PERMISSION = 77;
const EXIT_CONFIGURATION = 78;

const USAGE = `usage: evbd [--config FILE] [--bus system|session|none|ADDRESS]
            [--state-dir DIR] [--runtime-dir DIR] [--log-level LEVEL] [--check]

  --config FILE      configuration, default /etc/evbd/evbd.yaml
  --bus BUS          message bus for org.evbd1, default system
  --state-dir DIR    durable state, default /var/lib/evbd
  --runtime-dir DIR  runtime files, default /run/evbd
  --log-level LEVEL  debug, info, warn or error, default info
  --check            validate the configuration and exit
  --version, --help`;

/** The process ends with `code` and one line per message on stderr. */
class Exit extends Error {
  readonly code: number;
  readonly lines: readonly string[];

  constructor(code: number, ...lines: readonly string[]) {
    super(lines[0]);
    this.code = code;
    this.lines = lines;
  }
}

interface Options {
  config: string;
  bus: string;
  'state-dir': string;
  'runtime-dir': string;
  'log-level': string;
}

function version(): string {
  for (const place of ['../package.json', '../../package.json']) {
    try {
      return JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')).version;
    } catch {
      // From source it is one folder up, from dist two.
    }
  }
  return 'unknown';
}

function readOptions(): Options | undefined {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  let values: Partial<Options> & { check?: boolean; version?: boolean; help?: boolean };
  try {
    values = parseArgs({
      options: {
        config: text,
        bus: text,
        'state-dir': text,
        'runtime-dir': text,
        'log-level': text,
        check: flag,
        version: flag,
        help: flag,
      },
    }).values;
  } catch (error) {
    throw new Exit(EXIT_USAGE, `${(error as Error).message.split('. ')[0]}; evbd --help shows the options`);
  }
  const options = {
    config: '/etc/evbd/evbd.yaml',
    bus: 'system',
    'state-dir': '/var/lib/evbd',
    'runtime-dir': '/run/evbd',
    'log-level': 'info',
    ...values,
  };
  if (!['debug', 'info', 'warn', 'error'].includes(options['log-level'])) {
    throw new Exit(EXIT_USAGE, `--log-level ${options['log-level']}: expected debug, info, warn or error`);
  }
  if (values.help) console.log(USAGE);
  else if (values.version) console.log(`evbd ${version()}`);
  else if (values.check) {
    loadConfig(options.config);
    console.log(`${options.config}: valid`);
  } else return options;
  return undefined;
}

function checkCapabilities(ports: number): void {
  const { raw, admin } = parseCapabilities(readFileSync('/proc/self/status', 'utf8'))!;
  const missing = [...(raw ? [] : ['CAP_NET_RAW']), ...(admin || ports === 0 ? [] : ['CAP_NET_ADMIN'])];
  if (missing.length === 0) return;
  const mend = 'run it as root, or with these capabilities (AmbientCapabilities= of its unit)';
  throw new Exit(EXIT_PERMISSION, `not permitted: evbd needs ${missing.join(' and ')}; ${mend}`);
}

function makeFolder(folder: string, option: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    const text = `${folder}: ${denied ? 'no permission to create it' : `cannot be created (${code})`}; give another with ${option}`;
    throw new Exit(denied ? EXIT_PERMISSION : EXIT_FAILURE, text);
  }
}

async function run(options: Options): Promise<void> {
  const config = loadConfig(options.config);
  checkCapabilities(Object.keys(config.ports).length);
  makeFolder(options['state-dir'], '--state-dir');
  makeFolder(options['runtime-dir'], '--runtime-dir');
  const log: Log = pino({
    level: options['log-level'],
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
  });
  // The native addon is loaded only now: what is wrong with the configuration is said first.
  const { EvbDaemon } = await import('./runtime/daemon.ts');
  const store = await Store.open(`${options['state-dir']}/db`);
  const daemonOptions: DaemonOptions = {
    config,
    store,
    log,
    version: version(),
    readConfig: () => loadConfig(options.config),
  };
  const daemon = new EvbDaemon(daemonOptions);
  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  // Before anything takes time: a SIGHUP without a listener would end the process.
  process.on('SIGHUP', () => {
    daemon.reload().then(
      (changes) => log.info({}, `reloaded: ${changes.join('; ') || 'nothing changed'}`),
      (error: Error) => log.error({}, `reload: ${error.message}`),
    );
  });
  await daemon.prepare();
  const service = options.bus === 'none' ? undefined : await serve(options.bus, daemon, log);
  await daemon.start();
  const links = daemon.links().length;
  log.info({}, `evbd ${version()} runs: ${links} link${links === 1 ? '' : 's'} configured`);
  await notify('READY=1', log);
  const signal = await stopped;
  await notify('STOPPING=1', log);
  log.info({}, `${signal}: on-exit ${daemon.onExit}`);
  await service?.close();
  await daemon.stop();
}

async function serve(bus: string, daemon: Daemon, log: Log) {
  const { startService } = await import('./dbus/service.ts');
  const say = (level: 'info' | 'warn' | 'error') => (text: string) => log[level]({}, text);
  return startService({ daemon, bus, log: { info: say('info'), warn: say('warn'), error: say('error') } });
}

/** sd_notify(3): nothing without NOTIFY_SOCKET; a manager that does not listen is no reason to fail. */
async function notify(state: string, log: Log): Promise<void> {
  const path = process.env['NOTIFY_SOCKET'];
  if (path === undefined) return;
  const { sendDatagram } = await import('./raw-socket/index.ts');
  try {
    sendDatagram(path, new TextEncoder().encode(state));
  } catch (error) {
    log.warn({}, `NOTIFY_SOCKET ${path}: ${(error as Error).message}`);
  }
}

/** What a person did or can mend: one line each and its exit code. Anything else is a defect of evbd and keeps its stack. */
function exitOf(error: unknown): Exit | undefined {
  if (error instanceof Exit) return error;
  if (error instanceof ConfigError) return new Exit(EXIT_CONFIGURATION, ...error.problems);
  if (error instanceof BusError) return new Exit(EXIT_NO_BUS, error.message);
  if (error instanceof KernelError) {
    return new Exit(error.code === 'EPERM' ? EXIT_PERMISSION : EXIT_FAILURE, error.message);
  }
  if (error instanceof StoreError) {
    return new Exit(/permission denied/i.test(error.message) ? EXIT_PERMISSION : EXIT_FAILURE, error.message);
  }
  return undefined;
}

try {
  const options = readOptions();
  if (options !== undefined) {
    await run(options);
    process.exit(0);
  }
} catch (error) {
  const exit = exitOf(error);
  if (exit === undefined) throw error;
  for (const line of exit.lines) console.error(`evbd: ${line}`);
  process.exit(exit.code);
}
