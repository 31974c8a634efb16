import type { HeaderList } from './heads.ts'

/** @param name in lower case; the names in `headers` are in any */
export function hasHeader(headers: HeaderList, name: string): boolean {
  return headers.some(([given]) => given.toLowerCase() === name)
}
