import { createReadStream } from 'node:fs';
import process from 'node:process';

/** The octets of a file, or of standard input when `file` is `-`. Errors of the system carry the path. */
export async function* readInput(file: string): AsyncGenerator<Uint8Array> {
  const stream = file === '-' ? process.stdin : createReadStream(file);
  try {
    yield* stream;
  } catch (error) {
    // Opening tells the path, reading a directory does not.
    throw Object.assign(error as Error, { path: file });
  } finally {
    stream.destroy();
  }
}
