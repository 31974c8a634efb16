// Leads places in compiled tests back to the sources, for whoever reads a failure. Node's own --enable-source-maps would
// have each of some hundred processes read all source maps at its start, which is a tenth of their CPU.
import { existsSync, readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { dirname, resolve } from 'node:path'

const PLACE = /(?:file:\/\/)?([^\s()'"]*\.tests[\\/]\d+[\\/][^\s()'"]*\.js):(\d+):(\d+)/g
/** Compiled file → its map, or undefined where it has none. */
const maps = new Map()

/**
 * @param {string} text such as a stack trace
 * @returns {string} with the file, line and column of the source for each place in a compiled file
 */
export function withSourcePlaces(text) {
  return text.replace(PLACE, (found, path, line, column) => {
    const place = sourcePlace(path, Number(line), Number(column))
    return place === undefined ? found : `${place.file}:${place.line}:${place.column}`
  })
}

/**
 * @param {string} path of a compiled file
 * @param {number} line from 1
 * @param {number} column from 1
 * @returns {{ file: string, line: number, column: number } | undefined} undefined where that is in no source
 */
export function sourcePlace(path, line, column) {
  if (!maps.has(path)) maps.set(path, mapOf(path))
  const entry = maps.get(path)?.findEntry(line - 1, column - 1)
  if (entry?.originalSource === undefined) return undefined
  const file = resolve(dirname(path), entry.originalSource)
  return { file, line: entry.originalLine + 1, column: entry.originalColumn + 1 }
}

function mapOf(path) {
  const file = `${path}.map`
  return existsSync(file) ? new SourceMap(JSON.parse(readFileSync(file, 'utf8'))) : undefined
}
