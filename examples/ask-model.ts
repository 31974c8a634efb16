/**
 * Asks a language model that runs on a machine at home, and prints its answer as it comes. It speaks Ollama's protocol: a
 * JSON object on each line.
 *
 *     TUNNEL_URL=https://tunnel.example.com TUNNEL_TOKEN=… npx tsx examples/ask-model.ts home 'Why is the sky blue?'
 */
import { fileURLToPath } from 'node:url'
import { TunnelService } from '../client/index.ts'

export interface Question {
  machine: string
  prompt: string
  /** @default 11434, Ollama's */
  port?: number
  /** @default 'llama3.2' */
  model?: string
  /** Stops the answer, and the model. */
  signal?: AbortSignal
}

/** The answer, piece by piece. Whoever stops reading stops the model. */
export async function* ask(tunnel: TunnelService, question: Question): AsyncGenerator<string> {
  const { machine, prompt, port = 11_434, model = 'llama3.2', signal } = question
  const response = await tunnel.fetch(`http://${machine}:${port}/api/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, prompt }),
    // A model may think for a while before its first word.
    timeoutMs: 300_000,
    ...(signal === undefined ? {} : { signal }),
  })
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`)
  let rest = ''
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line !== '') yield (JSON.parse(line) as { response: string }).response
  }
}

async function main(machine: string, prompt: string): Promise<void> {
  const { TUNNEL_URL: url = 'http://127.0.0.1:3001', TUNNEL_TOKEN: token = '' } = process.env
  await using tunnel = new TunnelService({ url, token })
  await tunnel.connect()
  for await (const piece of ask(tunnel, { machine, prompt })) process.stdout.write(piece)
  process.stdout.write('\n')
}

const [, program, machine = '', prompt = ''] = process.argv
if (program === fileURLToPath(import.meta.url)) await main(machine, prompt)
