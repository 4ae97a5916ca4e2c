#!/usr/bin/env node
/** The client of evbd. Modules are loaded as the verb needs them: hooks and scripts call this often. */

import { readFileSync } from 'node:fs';
import process from 'node:process';
import { helpText, parseCommand } from './arguments.ts';
import { PLAIN, printable, terminalOf } from './terminal.ts';

/** Exit codes of failures by the name of their error; 1 is every other. */
const EXIT: Readonly<Record<string, number>> = {
  UsageError: 2,
  InvalidArgument: 2,
  NoSuchLink: 2,
  Unreachable: 3,
  Timeout: 4,
};

/** Resolves to the exit code; what is wrong goes to stderr as one line. */
async function main(args: readonly string[]): Promise<number> {
  let verb = '';
  try {
    const command = parseCommand(args, process.env);
    switch (command.verb) {
      case 'version':
        await print(`evbctl ${version()}\n`);
        return 0;
      case 'help':
        await print(helpText('about' in command ? command.about : undefined));
        return 0;
    }
    if (!('positionals' in command)) return 2;
    verb = ` ${command.verb}`;
    const terminal = terminalOf(process.stdout, process.env);
    if (command.verb === 'decode') {
      const { decodeFile } = await import('./capture.ts');
      const note = (line: string) => process.stderr.write(`evbctl decode: ${line}\n`);
      await decodeFile(command.positionals[0]!, print, note, command.json ? 'json' : terminal);
      return 0;
    }
    if (command.verb === 'doctor') {
      const { doctor } = await import('../doctor/doctor.ts');
      return await doctor(command, print, terminal);
    }
    const { run } = await import('./session.ts');
    return await run(command, print, terminal);
  } catch (error) {
    const { name, message, code, path } = error as NodeJS.ErrnoException;
    const file = code !== undefined && path !== undefined;
    const line = file ? `${path}: ${FILE_ERRORS[code] ?? message}` : message;
    const shown = printable({ ...PLAIN, unicode: true }, line.replace(/\s*\n\s*/g, ' '));
    process.stderr.write(`evbctl${verb}: ${shown}\n`);
    return file ? 2 : (EXIT[name] ?? 1);
  }
}

const FILE_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a directory, not a file',
};

function print(text: string): Promise<void> {
  return new Promise((resolve) => {
    if (process.stdout.write(text)) resolve();
    else process.stdout.once('drain', resolve);
  });
}

/** Of the package that this file is in, compiled or not. */
function version(): string {
  for (const up of ['../../../package.json', '../../package.json']) {
    try {
      return JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')).version;
    } catch {}
  }
  return 'of unknown version';
}

// The reader has gone (`| head`): there is nobody left to tell.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
process.stderr.on('error', () => process.exit(1));

process.exitCode = await main(process.argv.slice(2));
