/**
 * An answer's body as text.
 * @throws {Error} for one of more than `maxBytes`, or that breaks off; nothing more of it is then read
 */
export async function readText({ body }: Response, maxBytes: number): Promise<string> {
  if (body === null) return ''
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  let size = 0
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return text + decoder.decode()
    size += value.length
    if (size > maxBytes) {
      reader.cancel().catch(() => {})
      throw new Error(`the answer is longer than ${maxBytes} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}
