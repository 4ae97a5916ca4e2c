import { inspect } from 'node:util';

/** For a log. What was thrown may be anything, also what cannot be made a string. */
export function inFull(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : inspect(error);
}
