import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { askToken } from '../../dial/token.ts'
import { UsageError } from '../failure.ts'
import { tellAside } from '../prose.ts'
import { updateFile } from '../replace-file.ts'

const MAX_BYTES = 16_384

/** Keeps a token beside the configuration file, for its owner alone; answers where. @throws {TunnelError} TOKEN_INVALID */
export async function keepToken(clientFile: string, name: string, from: Readable | string): Promise<string> {
  const text = typeof from === 'string' ? from : await readAll(from)
  if (text.trim() === '') throw new UsageError('there is no token on stdin')
  const token = await askToken(text.trim())
  const file = keptToken(clientFile, name)
  await updateFile(file, () => `${token}\n`)
  return file
}

/** Removes the token that was kept for a context, if one was. */
export function dropToken(clientFile: string, name: string): void {
  rmSync(keptToken(clientFile, name), { force: true })
}

/** The same of all that was kept, a login too. */
export function dropTokens(clientFile: string, name: string): void {
  dropToken(clientFile, name)
  rmSync(keptLogin(clientFile, name), { force: true })
}

/** Where `tunnel login` keeps what it got. */
export function keptLogin(clientFile: string, name: string): string {
  return join(dirname(clientFile), `${name}.login.json`)
}

function keptToken(clientFile: string, name: string): string {
  return join(dirname(clientFile), `${name}.token`)
}

/** Asks for it where a person is to paste it, who would see nothing otherwise. */
function invite(from: Readable): void {
  if (from === process.stdin && process.stdin.isTTY && process.stderr.isTTY)
    tellAside('paste the token, then Enter and Ctrl-D:\n')
}

async function readAll(from: Readable): Promise<string> {
  invite(from)
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of from) {
    length += (chunk as Buffer).length
    if (length > MAX_BYTES) throw new UsageError(`a token has at most ${MAX_BYTES} bytes`)
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString()
}
