import { afterEach, expect, test, vi } from 'vitest';
import { findLibrary, findProgram, needs } from '../support/needs.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

const absent = { programs: ['sh', 'no-such-program'], files: ['/no/such/file'] };

test('what is there is no reason to skip', () => {
  expect(needs({})).toBe(true);
  expect(needs({ programs: ['sh'], files: ['/'], root: process.getuid?.() === 0 })).toBe(true);
  expect(findProgram('sh')).toMatch(/\/sh$/);
});

test('what lacks is named and the test skipped', () => {
  vi.stubEnv('CI', '');
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  expect(needs(absent)).toBe(false);
  expect(warn).toHaveBeenCalledWith('skipped: it needs no-such-program, /no/such/file');
  expect(findLibrary('libno-such-library.so')).toBeUndefined();
});

test('with CI=true it fails', () => {
  vi.stubEnv('CI', 'true');
  expect(() => needs(absent)).toThrow('the tests need no-such-program, /no/such/file');
});
