"""Google's Gemini API. Set GEMINI_API_KEY; see github_tool.py for the account.

pip install 'valetkey[gemini]'
"""

from github_tool import list_repositories
from google import genai
from google.genai import types

from valetkey.integrations.gemini import PocketGemini

client = genai.Client()
with PocketGemini(tools=[list_repositories]) as pocket:
    chat = client.chats.create(
        model="gemini-2.5-flash", config=types.GenerateContentConfig(tools=pocket.get_gemini_tool_specs())
    )
    answer = chat.send_message("What do I work on?")
    while answer.function_calls:
        parts = [pocket.invoke(call, thread_id="ann") for call in answer.function_calls]
        for part in parts:
            print(part.function_response.response)  # the link at first: the person opens it
        answer = chat.send_message(parts)
    print(answer.text)
