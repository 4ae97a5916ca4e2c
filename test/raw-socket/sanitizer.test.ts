/**
 * The scenarios that throw, close and end environments once more, with an addon built with AddressSanitizer and
 * UndefinedBehaviorSanitizer in a directory of its own. Node itself is not built that way: of what LeakSanitizer finds
 * at the end only that counts which the addon allocated, since node leaves things behind when it exits.
 */

import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findLibrary, needs } from '../support/needs.ts';
import { root, run, runScenario } from './scenarios.ts';

const SCENARIOS: Readonly<Record<string, readonly string[]>> = {
  packet: [
    'exchange',
    'vlanTags',
    'linkDownAndUp',
    'linkDeleted',
    'sendErrors',
    'largestFrame',
    'callbackThrows',
    'closeInCallback',
    'openInCallback',
  ],
  netlink: ['dump', 'unicast', 'largeUnicast', 'overrun', 'callbackThrowsOrCloses', 'inAnotherNamespace'],
  life: [
    'netlinkCycles',
    'packetCycles',
    'failedOpens',
    'framesAndErrorsLeaveNothing',
    'manyAtOnce',
    'exitWithOpenSockets',
    'forgotten',
    'workers',
    'workerExitsInCallback',
    'workerThrowsInCallback',
    'oneAddonInSeveralThreads',
  ],
  arguments: ['everyOptionOnItsOwn', 'methods', 'theAddonItself'],
};

/** Allocations that the addon itself made and lost: blocks of a report whose allocating frame lies in it. */
function leaksOfTheAddon(report: string): string[] {
  const blocks = report.split(/\n\s*\n/).filter((block) => /(Direct|Indirect) leak of/.test(block));
  return blocks.filter((block) => /#1 .*raw_socket/.test(block));
}

const wanted = {
  programs: ['gcc', 'make', 'npm', 'ip'],
  libraries: ['libasan.so', 'libubsan.so'],
  networkNamespace: true,
};

describe.runIf(needs(wanted))('with the sanitizers', () => {
  const sanitized = mkdtempSync(join(tmpdir(), 'evbd-sanitized-'));
  afterAll(() => rmSync(sanitized, { recursive: true }));

  beforeAll(async () => {
    for (const path of ['package.json', 'dist/src/raw-socket', 'test/raw-socket/fixtures']) {
      cpSync(join(root, path), join(sanitized, path), { recursive: true });
    }
    mkdirSync(join(sanitized, 'src/raw-socket'), { recursive: true });
    for (const name of ['binding.gyp', 'raw_socket.c']) {
      cpSync(join(root, 'src/raw-socket', name), join(sanitized, 'src/raw-socket', name));
    }
    const flags = '-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g';
    const { status, stdout, stderr } = await run('npm', ['run', 'build:addon'], {
      cwd: sanitized,
      env: { ...process.env, CFLAGS: `${flags} -Werror`, LDFLAGS: flags },
    });
    expect(status, stdout + stderr).toBe(0);
  }, 120_000);

  const environment = {
    LD_PRELOAD: `${findLibrary('libasan.so')}`,
    // Not to fail for what node leaks; a true error still aborts.
    ASAN_OPTIONS: 'detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=1',
    LSAN_OPTIONS: 'exitcode=0:max_leaks=0',
    CYCLES: '1000',
  };
  const all = Object.entries(SCENARIOS).flatMap(([fixture, names]) =>
    names.map((name) => [fixture, name] as const),
  );

  test.concurrent.for(all)('%s %s', { timeout: 120_000 }, async ([fixture, name]) => {
    const { status, signal, stderr } = await runScenario(fixture, name, { root: sanitized, environment });
    expect({ status, signal }, stderr).toEqual({ status: 0, signal: null });
    expect(stderr).not.toMatch(/ERROR: AddressSanitizer|runtime error:/);
    expect(leaksOfTheAddon(stderr)).toEqual([]);
  });
});
