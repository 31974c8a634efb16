import type { HeaderList } from '../../protocol/codec/heads.ts'

/** Credentials: they are good for more than the one request, and a disk is read by others. */
const CREDENTIALS: ReadonlySet<string> = new Set([
  'authorization',
  'proxy-authorization',
  'x-target-authorization',
  'cookie',
])

/** What of `headers` may be on disk, and the names of the others. */
export function withoutCredentials(headers: HeaderList): { kept: HeaderList; withheld: string[] } {
  const isKept = ([name]: [string, string]) => !CREDENTIALS.has(name.toLowerCase())
  return {
    kept: headers.filter(isKept),
    withheld: headers.filter((pair) => !isKept(pair)).map(([name]) => name.toLowerCase()),
  }
}
