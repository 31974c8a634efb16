import { readFileSync } from 'node:fs'

/** A fenced block of a document whose first line says where it belongs: ```sh laptop, or ```nginx proxy /etc/…. */
export interface Block {
  /** The heading under which it stands. */
  section: string
  language: string
  /** A host, or what else the document calls the place. */
  place: string
  /** The file of which it is the content. */
  path?: string
  text: string
}

/** The blocks of a document that name a place, in their order. Others are examples of output, or for the eye. */
export function blocksOf(document: string): Block[] {
  const text = readFileSync(new URL(`../../${document}`, import.meta.url), 'utf8')
  const blocks: Block[] = []
  let section = ''
  for (const [whole, heading, info = '', content = ''] of text.matchAll(
    /^#+ (.+)$|^```(.*)\n([\s\S]*?)^```$/gm,
  )) {
    if (heading !== undefined) section = heading
    const [language = '', place, path] = info.split(' ')
    if (!whole.startsWith('```') || place === undefined) continue
    blocks.push({ section, language, place, text: content, ...(path !== undefined && { path }) })
  }
  return blocks
}

/** The commands of a block: a line each, or several that end in a backslash; or a here-document with its lines. */
export function commandsOf({ text }: Block): string[] {
  const commands: string[] = []
  let open: { end: string | undefined } | undefined
  for (const line of text.split('\n')) {
    if (open !== undefined) commands.push(`${commands.pop()}\n${line}`)
    else if (line.trim() === '' || line.startsWith('#')) continue
    else commands.push(line.replace(/ {2,}# .*$/, ''))
    const end = open?.end ?? /<<'?(\w+)'?/.exec(line)?.[1]
    const goesOn = end === undefined ? line.endsWith('\\') : line !== end
    open = goesOn ? { end } : undefined
  }
  return commands
}
